//! What the server counts, in the text format of Prometheus (0.0.4).
//!
//! Every label comes from a short list of this program's own words: no name of a repository, user or address is in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::config::{AccessRecord, Verdict};

/// Upper bounds of the histogram, in seconds.
const BOUNDS: [f64; 8] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.0, 10.0, 60.0];
/// Methods that are told apart.
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// The counters of one server.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: Mutex<BTreeMap<Series, u64>>,
    times: Mutex<BTreeMap<&'static str, Histogram>>,
    received: AtomicU64,
    sent: AtomicU64,
    logins: [AtomicU64; 3],
    failures: AtomicU64,
    expired: AtomicU64,
    collected: AtomicU64,
    collected_bytes: AtomicU64,
    pub(super) connections: Gauge,
    pub(super) in_flight: Gauge,
}

/// Endpoint, method and status.
type Series = (&'static str, &'static str, u16);

#[derive(Debug, Default, Clone, Copy)]
struct Histogram {
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum: Duration,
}

/// How many there are now.
#[derive(Debug, Default)]
pub(super) struct Gauge(AtomicU64);

/// One of those that a gauge counts, as long as it lives.
#[derive(Debug)]
pub(super) struct Counted<'g>(&'g Gauge);

impl Gauge {
    pub(super) fn enter(&self) -> Counted<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(self)
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Metrics {
    /// Counts abandoned uploads that were removed.
    pub fn count_expired(&self, uploads: u64) {
        self.expired.fetch_add(uploads, Ordering::Relaxed);
    }

    /// Counts files that garbage collection removed, and their bytes.
    pub fn count_collected(&self, files: u64, bytes: u64) {
        self.collected.fetch_add(files, Ordering::Relaxed);
        self.collected_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_login(&self, verdict: Verdict) {
        let place = match verdict {
            Verdict::Allowed => 0,
            Verdict::Refused => 1,
            Verdict::Wait(_) => 2,
        };
        self.logins[place].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_request(&self, record: &AccessRecord) {
        let method = METHODS.into_iter().find(|known| *known == record.method);
        let series = (record.endpoint, method.unwrap_or("other"), record.status);
        *lock(&self.requests).entry(series).or_default() += 1;
        lock(&self.times)
            .entry(record.endpoint)
            .or_default()
            .add(record.elapsed);
        self.received.fetch_add(record.received, Ordering::Relaxed);
        self.sent.fetch_add(record.sent, Ordering::Relaxed);
    }

    /// Everything, with what only the caller knows.
    pub(super) fn render(&self, free_space: Option<u64>) -> String {
        let mut page = Page::default();
        page.head("cairn_info", "gauge", "The version of the program.");
        page.line("cairn_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        page.head("cairn_requests_total", "counter", "Requests that were answered.");
        for ((endpoint, method, status), count) in lock(&self.requests).iter() {
            let status = status.to_string();
            let labels = [("endpoint", *endpoint), ("method", method), ("status", &status)];
            page.line("cairn_requests_total", &labels, *count);
        }
        page.head(
            "cairn_request_seconds",
            "histogram",
            "From the head of a request to the end of its answer.",
        );
        for (endpoint, times) in lock(&self.times).iter() {
            times.render(endpoint, &mut page);
        }
        for (name, help, value) in [
            (
                "cairn_received_bytes_total",
                "Bytes of bodies that came.",
                &self.received,
            ),
            (
                "cairn_sent_bytes_total",
                "Bytes of bodies that went out.",
                &self.sent,
            ),
            (
                "cairn_store_failures_total",
                "Requests that failed because the store did.",
                &self.failures,
            ),
            (
                "cairn_uploads_expired_total",
                "Abandoned uploads that were removed.",
                &self.expired,
            ),
            (
                "cairn_collected_files_total",
                "Files that garbage collection removed.",
                &self.collected,
            ),
            (
                "cairn_collected_bytes_total",
                "Bytes that garbage collection removed.",
                &self.collected_bytes,
            ),
        ] {
            page.head(name, "counter", help);
            page.line(name, &[], value.load(Ordering::Relaxed));
        }
        page.head(
            "cairn_logins_total",
            "counter",
            "Passwords that came, by what became of them.",
        );
        for (result, count) in ["allowed", "refused", "wait"].into_iter().zip(&self.logins) {
            page.line(
                "cairn_logins_total",
                &[("result", result)],
                count.load(Ordering::Relaxed),
            );
        }
        page.head("cairn_connections", "gauge", "Open connections.");
        page.line("cairn_connections", &[], self.connections.get());
        page.head(
            "cairn_requests_in_flight",
            "gauge",
            "Requests that are being answered.",
        );
        page.line("cairn_requests_in_flight", &[], self.in_flight.get());
        if let Some(bytes) = free_space {
            page.head(
                "cairn_store_free_bytes",
                "gauge",
                "Room on the store's file system.",
            );
            page.line("cairn_store_free_bytes", &[], bytes);
        }
        page.0
    }
}

impl Histogram {
    fn add(&mut self, elapsed: Duration) {
        for (bucket, bound) in self.buckets.iter_mut().zip(BOUNDS) {
            *bucket += u64::from(elapsed.as_secs_f64() <= bound);
        }
        self.count += 1;
        self.sum += elapsed;
    }

    fn render(&self, endpoint: &str, page: &mut Page) {
        for (count, bound) in self.buckets.iter().zip(BOUNDS) {
            let labels = [("endpoint", endpoint), ("le", &bound.to_string())];
            page.line("cairn_request_seconds_bucket", &labels, *count);
        }
        let labels = [("endpoint", endpoint), ("le", "+Inf")];
        page.line("cairn_request_seconds_bucket", &labels, self.count);
        let labels = [("endpoint", endpoint)];
        page.line("cairn_request_seconds_sum", &labels, self.sum.as_secs_f64());
        page.line("cairn_request_seconds_count", &labels, self.count);
    }
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _infallible = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Labels are our own words and numbers: nothing in them needs an escape.
    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<_> = labels
            .iter()
            .map(|(key, text)| format!("{key}=\"{text}\""))
            .collect();
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", labels.join(","))
        };
        let _infallible = writeln!(self.0, "{name}{labels} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_every_series_once_and_buckets_that_grow() {
        let metrics = Metrics::default();
        for (method, milliseconds) in [("GET", 3), ("GET", 700), ("ODD", 1), ("GET", 100_000)] {
            metrics.count_request(&AccessRecord {
                method: method.to_owned(),
                path: "/v2/secret/\"\n".to_owned(),
                endpoint: "blob",
                user: Some("ann".to_owned()),
                peer: None,
                status: 200,
                received: 1,
                sent: 2,
                elapsed: Duration::from_millis(milliseconds),
            });
        }
        metrics.count_login(Verdict::Refused);
        let held = metrics.connections.enter();
        let page = metrics.render(Some(7));
        for line in [
            "cairn_requests_total{endpoint=\"blob\",method=\"GET\",status=\"200\"} 3",
            "cairn_requests_total{endpoint=\"blob\",method=\"other\",status=\"200\"} 1",
            "cairn_request_seconds_bucket{endpoint=\"blob\",le=\"0.005\"} 2",
            "cairn_request_seconds_bucket{endpoint=\"blob\",le=\"2\"} 3",
            "cairn_request_seconds_bucket{endpoint=\"blob\",le=\"60\"} 3",
            "cairn_request_seconds_bucket{endpoint=\"blob\",le=\"+Inf\"} 4",
            "cairn_request_seconds_count{endpoint=\"blob\"} 4",
            "cairn_sent_bytes_total 8",
            "cairn_logins_total{result=\"refused\"} 1",
            "cairn_connections 1",
            "cairn_store_free_bytes 7",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
        assert!(!page.contains("secret") && !page.contains("ann"));
        drop(held);
        assert!(metrics.render(None).contains("cairn_connections 0\n"));
    }
}

//! A bar on the terminal for what takes longer than half a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cairn_store::transfer::Watch;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::escape::escape;
use crate::terminal::Terminal;

/// What is done sooner needs no bar.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often the bar is drawn.
const TICK: Duration = Duration::from_millis(100);

/// That something is done of which nobody knows how long it takes.
const LOOKING: &str = "  {spinner} {msg}";
/// What, and how far, and how fast.
const BYTES: &str = "  {msg:<28} {bar:24} {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}";

/// Shows how far a build or a transfer is. It is gone, and its line empty, when this is dropped.
pub struct Bar {
    bar: ProgressBar,
    /// Bytes that were read.
    read: Arc<AtomicU64>,
    /// What had been read when the layer began.
    before: Arc<AtomicU64>,
    layers: AtomicUsize,
    begun: AtomicUsize,
    done: Arc<AtomicBool>,
    ticker: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Bar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bar").finish_non_exhaustive()
    }
}

impl Bar {
    /// One that shows itself after a while, if `terminal` can show it at all.
    pub fn new(terminal: &Terminal) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        bar.set_style(style(LOOKING));
        bar.set_message("looking at the files");
        let mut shown = Self {
            bar,
            read: Arc::default(),
            before: Arc::default(),
            layers: AtomicUsize::new(0),
            begun: AtomicUsize::new(0),
            done: Arc::default(),
            ticker: None,
        };
        if terminal.progress {
            shown.ticker = shown.tick();
        }
        shown
    }

    /// Without a thread there is no bar, and nothing else is missing.
    fn tick(&self) -> Option<JoinHandle<()>> {
        let (bar, done) = (self.bar.clone(), Arc::clone(&self.done));
        let (read, before) = (Arc::clone(&self.read), Arc::clone(&self.before));
        let work = move || {
            thread::park_timeout(PATIENCE);
            if done.load(Ordering::Acquire) {
                return;
            }
            bar.set_draw_target(ProgressDrawTarget::stderr());
            while !done.load(Ordering::Acquire) {
                let before = before.load(Ordering::Relaxed);
                bar.set_position(read.load(Ordering::Relaxed).saturating_sub(before));
                bar.tick();
                thread::park_timeout(TICK);
            }
        };
        thread::Builder::new()
            .name("progress".to_owned())
            .spawn(work)
            .ok()
    }

    /// One for an image on its way from one repository to another, and what is to be told how far it is.
    pub fn moving(terminal: &Terminal, what: &'static str) -> (Self, Arc<dyn Watch>) {
        let shown = Self::new(terminal);
        shown.bar.set_length(0);
        shown.bar.set_style(style(BYTES));
        shown.bar.set_message(what);
        let moving = Moving {
            bar: shown.bar.clone(),
            read: shown.counter(),
            length: AtomicU64::new(0),
        };
        (shown, Arc::new(moving))
    }

    /// Where bytes that were read are counted.
    pub fn counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.read)
    }

    /// How many layers there will be.
    pub fn planned(&self, layers: usize) {
        self.layers.store(layers, Ordering::Relaxed);
    }

    /// `bytes` of `what` come from elsewhere next; [`Self::counter`] counts them.
    pub fn fetching(&self, what: &str, bytes: u64) {
        self.before
            .store(self.read.load(Ordering::Relaxed), Ordering::Relaxed);
        self.bar.reset();
        self.bar.set_length(bytes);
        self.bar.set_style(style(BYTES));
        self.bar.set_message(escape(what));
    }

    /// Nothing comes from elsewhere any more.
    pub fn fetched(&self) {
        self.bar.set_style(style(LOOKING));
        self.bar.set_message("looking at the files");
    }

    /// A layer is begun, of whose files `bytes` will be read.
    pub fn layer(&self, name: &str, bytes: u64) {
        self.before
            .store(self.read.load(Ordering::Relaxed), Ordering::Relaxed);
        self.bar.reset();
        self.bar.set_length(bytes);
        self.bar.set_style(style(BYTES));
        let (number, of) = (
            self.begun.load(Ordering::Relaxed) + 1,
            self.layers.load(Ordering::Relaxed),
        );
        self.bar
            .set_message(format!("layer {} ({number} of {of})", escape(name)));
    }

    /// A layer is done, whether it was begun or known before.
    pub fn layer_done(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// Runs `say`, which writes lines, while the bar is out of the way.
    pub fn aside(&self, say: impl FnOnce()) {
        self.bar.suspend(say);
    }
}

/// Tells the bar of a transfer.
struct Moving {
    bar: ProgressBar,
    read: Arc<AtomicU64>,
    /// How many bytes there are to be moved.
    length: AtomicU64,
}

impl Watch for Moving {
    fn planned(&self, bytes: u64) {
        let before = self.length.fetch_add(bytes, Ordering::Relaxed);
        self.bar.set_length(before.saturating_add(bytes));
    }

    fn reused(&self, bytes: u64) {
        let before = self.length.fetch_sub(bytes, Ordering::Relaxed);
        self.bar.set_length(before.saturating_sub(bytes));
    }

    fn moved(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Release);
        if let Some(ticker) = self.ticker.take() {
            ticker.thread().unpark();
            // It does not panic; if it did, the bar would be all that suffers.
            drop(ticker.join());
        }
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    #[expect(clippy::expect_used, reason = "the templates are constants of this module")]
    ProgressStyle::with_template(template)
        .expect("the template is one")
        .progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The templates are parsed, and nothing is drawn or left behind where there is no terminal.
    #[test]
    fn without_a_terminal_there_is_no_bar() {
        let bar = Bar::new(&Terminal::new(false, false, false, false));
        assert!(bar.ticker.is_none());
        bar.planned(2);
        bar.counter().fetch_add(7, Ordering::Relaxed);
        bar.layer("app", 10);
        let mut said = false;
        bar.aside(|| said = true);
        bar.layer_done();
        assert!(said && bar.bar.is_hidden());
    }

    #[test]
    fn what_is_there_already_is_not_waited_for() {
        let (bar, watch) = Bar::moving(&Terminal::new(false, false, false, false), "pushing");
        watch.planned(100);
        watch.reused(30);
        watch.moved(50);
        assert_eq!(
            (bar.bar.length(), bar.read.load(Ordering::Relaxed)),
            (Some(70), 50)
        );
    }

    #[test]
    fn what_is_done_at_once_shows_no_bar() {
        let mut terminal = Terminal::new(false, false, false, false);
        terminal.progress = true;
        let bar = Bar::new(&terminal);
        assert!(bar.ticker.is_some());
        let inner = bar.bar.clone();
        drop(bar);
        assert!(inner.is_hidden() && inner.is_finished());
    }
}

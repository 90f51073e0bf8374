//! Keys and rules: under the threshold, and each names the one before.

use super::{Outcome, Step, Subject, Verdict, Why};

impl Step<'_> {
    fn judge_chain(&self) -> Verdict {
        let entry = self.entry();
        let authority = &self.state.authority;
        if !authority.threshold_met(&self.record.signers, &entry.kind, entry.at) {
            return Verdict::void(Why::NotAllowed);
        }
        if entry.chain != Some(self.state.chain) {
            return Verdict::void_by(Why::Overtaken, Some(self.state.chain));
        }
        Verdict::Effect
    }

    pub(super) fn keys(&mut self) -> Outcome {
        let mut verdict = self.judge_chain();
        match (&self.record.entry.authority, verdict) {
            (Some(authority), Verdict::Effect) if authority.check().is_ok() => {
                self.state.authority = authority.clone();
                self.state.chain = self.record.name;
            }
            (_, Verdict::Effect) => verdict = Verdict::void(Why::UnusableKeys),
            (_, Verdict::Void { .. }) => {}
        }
        Outcome::of(Subject::Keys, verdict)
    }

    pub(super) fn rules(&mut self) -> Outcome {
        let mut verdict = self.judge_chain();
        match (&self.record.entry.rules, verdict) {
            (Some(rules), Verdict::Effect) if rules.check().is_ok() => {
                self.state.rules = rules.clone();
                self.state.chain = self.record.name;
            }
            (_, Verdict::Effect) => verdict = Verdict::void(Why::UnusableRules),
            (_, Verdict::Void { .. }) => {}
        }
        Outcome::of(Subject::Rules, verdict)
    }
}

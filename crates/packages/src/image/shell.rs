//! The commands of a shell script, as far as it takes to know which there are.
//!
//! No shell: conditions are not evaluated and nothing is expanded. Every command that stands anywhere in the script is listed,
//! also in functions and in `$(…)`; what is not understood makes a command that nobody knows.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::Chars;

/// A simple command: its words, and where its output goes if that is a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Command {
    words: Vec<String>,
    writes: Option<String>,
}

/// What a script has.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) commands: Vec<Command>,
    /// The functions that it defines.
    pub(super) functions: BTreeSet<String>,
}

/// Words before a command that are none.
const KEYWORDS: [&str; 13] = [
    "!", "{", "}", "do", "done", "elif", "else", "esac", "fi", "if", "then", "until", "while",
];

/// Commands that change nothing in a fresh image, or whose work is done in another way.
const HARMLESS: [&str; 92] = [
    ".",
    ":",
    "[",
    "aa-enabled",
    "aa-status",
    "apparmor_parser",
    "awk",
    "basename",
    "break",
    "case",
    "cat",
    "cd",
    "cmp",
    "command",
    "continue",
    "cut",
    "deb-systemd-helper",
    "deb-systemd-invoke",
    "depmod",
    "diff",
    "dirname",
    "dpkg",
    "dpkg-architecture",
    "dpkg-maintscript-helper",
    "dpkg-query",
    "dpkg-realpath",
    "dpkg-trigger",
    "echo",
    "egrep",
    "exit",
    "export",
    "expr",
    "false",
    "fgrep",
    "find",
    "for",
    "getent",
    "grep",
    "head",
    "hostname",
    "id",
    "invoke-rc.d",
    "ischroot",
    "kill",
    "ldconfig",
    "local",
    "ls",
    "md5sum",
    "mountpoint",
    "nscd",
    "pgrep",
    "pidof",
    "pkill",
    "printf",
    "ps",
    "py3clean",
    "py3compile",
    "pycompile",
    "pypy3compile",
    "read",
    "readlink",
    "readonly",
    "realpath",
    "restorecon",
    "return",
    "rm",
    "rmdir",
    "sed",
    "select",
    "seq",
    "service",
    "set",
    "sha256sum",
    "shift",
    "sleep",
    "sort",
    "stat",
    "systemctl",
    "systemd-sysusers",
    "systemd-tmpfiles",
    "tail",
    "test",
    "tr",
    "trap",
    "true",
    "type",
    "udevadm",
    "umask",
    "uname",
    "uniq",
    "unset",
    "which",
];

impl Command {
    /// The command's own name.
    pub(super) fn word(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// Whether it does nothing that matters.
    pub(super) fn is_harmless(&self) -> bool {
        if self.writes.is_some() {
            return false;
        }
        let has = |word: &str| self.words.iter().any(|other| other == word);
        match self.word() {
            "sed" => !self
                .words
                .iter()
                .any(|word| word.starts_with("-i") || word == "--in-place"),
            "find" => !has("-exec") && !has("-execdir") && !has("-ok"),
            "." => has("/usr/share/debconf/confmodule"),
            "command" | "exec" => {
                let rest = self.words.iter().skip(1).cloned().collect();
                let rest = Self {
                    words: rest,
                    writes: None,
                };
                has("-v") || rest.word().is_empty() || rest.is_harmless()
            }
            "dpkg-divert" => has("--listpackage") || has("--truename") || has("--list"),
            "dpkg-statoverride" => has("--list"),
            "update-rc.d" | "wc" | "" => true,
            word => word.starts_with("db_") || HARMLESS.binary_search(&word).is_ok(),
        }
    }

    /// Its first words, for a message.
    pub(super) fn shown(&self) -> String {
        let words: Vec<&str> = self.words.iter().take(3).map(String::as_str).collect();
        let mut shown: String = words
            .join(" ")
            .chars()
            .take(60)
            .flat_map(char::escape_debug)
            .collect();
        if let Some(to) = &self.writes {
            shown.push_str(&format!(
                " > {}",
                to.chars()
                    .take(60)
                    .flat_map(char::escape_debug)
                    .collect::<String>()
            ));
        }
        format!("`{shown}`")
    }
}

/// All commands of a script.
pub(super) fn commands(text: &str) -> Script {
    let mut reader = Reader {
        text: text.chars().peekable(),
        script: Script::default(),
        command: Command::default(),
        word: None,
        outer: Vec::new(),
        heredocs: Vec::new(),
        pattern: false,
    };
    reader.read();
    reader.script
}

/// What a command in another one ends with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    Parenthesis,
    Backtick,
}

struct Reader<'t> {
    text: Peekable<Chars<'t>>,
    script: Script,
    command: Command,
    word: Option<String>,
    outer: Vec<(Closing, Command, Option<String>)>,
    heredocs: Vec<String>,
    /// Whether the next thing is a pattern of `case`, up to its parenthesis.
    pattern: bool,
}

impl Reader<'_> {
    fn read(&mut self) {
        while let Some(letter) = self.text.next() {
            if self.pattern && self.skip_pattern(letter) {
                continue;
            }
            match letter {
                '\\' => match self.text.next() {
                    Some('\n') | None => {}
                    Some(letter) => self.push(letter),
                },
                '\'' => self.single_quoted(),
                '"' => self.double_quoted(),
                '#' if self.word.is_none() => self.skip_line(),
                '$' => self.dollar(),
                '`' => self.backtick(),
                '>' => self.redirect(),
                '<' => self.input(),
                '(' if self.text.peek() == Some(&')') => self.function(),
                '(' => self.open(Closing::Parenthesis),
                ')' => self.close(Closing::Parenthesis),
                ';' if self.text.peek() == Some(&';') => {
                    self.text.next();
                    self.end_command();
                    self.pattern = true;
                }
                ';' | '&' | '|' => self.end_command(),
                '\n' => {
                    self.end_command();
                    self.skip_heredocs();
                }
                letter if letter.is_whitespace() => self.end_word(),
                letter => self.push(letter),
            }
        }
        self.end_command();
        while let Some((_, command, word)) = self.outer.pop() {
            (self.command, self.word) = (command, word);
            self.end_command();
        }
    }

    fn push(&mut self, letter: char) {
        self.word.get_or_insert_default().push(letter);
    }

    fn end_word(&mut self) {
        let Some(word) = self.word.take() else {
            return;
        };
        if self.command.words.is_empty() && (KEYWORDS.contains(&word.as_str()) || is_assignment(&word)) {
            return;
        }
        let is_case = self.command.word() == "case";
        self.command.words.push(word);
        if is_case
            && self.command.words.len() > 2
            && self.command.words.last().is_some_and(|word| word == "in")
        {
            self.end_command();
            self.pattern = true;
        }
    }

    fn end_command(&mut self) {
        self.end_word();
        let command = std::mem::take(&mut self.command);
        if command != Command::default() {
            self.script.commands.push(command);
        }
    }

    /// Whether `letter` was part of a pattern; `esac` ends them.
    fn skip_pattern(&mut self, letter: char) -> bool {
        if letter == '#' && self.word.is_none() {
            self.skip_line();
            return true;
        }
        if letter == ')' {
            self.word = None;
            self.pattern = false;
            return true;
        }
        if letter.is_whitespace() || letter == ';' {
            let word = self.word.take();
            if word.is_some_and(|word| word == "esac") {
                self.pattern = false;
                return false;
            }
            return true;
        }
        self.push(letter);
        true
    }

    fn single_quoted(&mut self) {
        self.word.get_or_insert_default();
        for letter in self.text.by_ref() {
            if letter == '\'' {
                return;
            }
            self.word.get_or_insert_default().push(letter);
        }
    }

    fn double_quoted(&mut self) {
        self.word.get_or_insert_default();
        while let Some(letter) = self.text.next() {
            match letter {
                '"' => return,
                '\\' => {
                    let next = self.text.next();
                    next.into_iter().for_each(|letter| self.push(letter));
                }
                '`' => self.inside('`'),
                '$' if self.text.peek() == Some(&'(') => {
                    self.text.next();
                    self.inside(')');
                }
                letter => self.push(letter),
            }
        }
    }

    /// Commands between double quotation marks, read by themselves.
    fn inside(&mut self, end: char) {
        let (mut text, mut depth) = (String::new(), 1);
        for letter in self.text.by_ref() {
            match letter {
                '(' if end == ')' => depth += 1,
                letter if letter == end => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
            text.push(letter);
        }
        let inner = commands(&text);
        self.script.commands.extend(inner.commands);
        self.push('…');
    }

    fn dollar(&mut self) {
        self.push('$');
        match self.text.peek() {
            Some('(') => {
                self.text.next();
                if self.text.peek() == Some(&'(') {
                    self.arithmetic();
                } else {
                    self.open(Closing::Parenthesis);
                }
            }
            Some('{') => {
                for letter in self.text.by_ref() {
                    self.word.get_or_insert_default().push(letter);
                    if letter == '}' {
                        return;
                    }
                }
            }
            Some('#') => {
                self.text.next();
                self.push('#');
            }
            _ => {}
        }
    }

    fn arithmetic(&mut self) {
        let mut depth = 1;
        for letter in self.text.by_ref() {
            match letter {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return;
            }
        }
    }

    fn backtick(&mut self) {
        match self.outer.last() {
            Some((Closing::Backtick, ..)) => self.close(Closing::Backtick),
            _ => self.open(Closing::Backtick),
        }
    }

    fn open(&mut self, closing: Closing) {
        let outer = (closing, std::mem::take(&mut self.command), self.word.take());
        self.outer.push(outer);
    }

    fn close(&mut self, closing: Closing) {
        self.end_command();
        if self.outer.last().is_some_and(|(other, ..)| *other == closing)
            && let Some((_, command, word)) = self.outer.pop()
        {
            (self.command, self.word) = (command, word);
        }
    }

    /// `name()`: what comes before it is no command.
    fn function(&mut self) {
        self.text.next();
        let name = self.word.take().or_else(|| self.command.words.pop());
        self.script.functions.extend(name);
        self.command = Command::default();
    }

    fn redirect(&mut self) {
        // A number before it says which output, and is no word.
        if self
            .word
            .as_ref()
            .is_some_and(|word| word.bytes().all(|byte| byte.is_ascii_digit()))
        {
            self.word = None;
        }
        self.end_word();
        let mut is_copy = false;
        while let Some(letter) = self.text.next_if(|letter| matches!(letter, '>' | '&' | '|')) {
            is_copy |= letter == '&';
        }
        let target = self.target();
        let is_number = target.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        let is_nowhere = ["/dev/null", "/dev/stderr", "/dev/stdout", "/dev/tty"].contains(&target.as_str());
        if !(is_nowhere || is_copy && is_number) {
            self.command.writes = Some(target);
        }
    }

    fn input(&mut self) {
        self.end_word();
        if self.text.next_if_eq(&'<').is_none() {
            self.target();
            return;
        }
        self.text.next_if_eq(&'-');
        let end = self.target();
        self.heredocs.push(end);
    }

    /// The word after a redirection.
    fn target(&mut self) -> String {
        while self.text.next_if(|letter| matches!(letter, ' ' | '\t')).is_some() {}
        let mut target = String::new();
        let ends = |letter: &char| letter.is_whitespace() || matches!(letter, ';' | '&' | '|' | ')' | '`');
        while let Some(letter) = self.text.next_if(|letter| !ends(letter)) {
            if !matches!(letter, '"' | '\'' | '\\') {
                target.push(letter);
            }
        }
        target
    }

    fn skip_line(&mut self) {
        while self.text.next_if(|letter| *letter != '\n').is_some() {}
    }

    fn skip_heredocs(&mut self) {
        for end in std::mem::take(&mut self.heredocs) {
            let mut line = String::new();
            for letter in self.text.by_ref() {
                if letter != '\n' {
                    line.push(letter);
                } else if line.trim() == end {
                    break;
                } else {
                    line.clear();
                }
            }
        }
    }
}

fn is_assignment(word: &str) -> bool {
    let Some((name, _)) = word.split_once('=') else {
        return false;
    };
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.bytes().all(is_part) && !name.starts_with(|letter: char| letter.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The commands that may matter.
    fn effects(text: &str) -> Vec<String> {
        let script = commands(text);
        let matters =
            |command: &&Command| !command.is_harmless() && !script.functions.contains(command.word());
        script
            .commands
            .iter()
            .filter(matters)
            .map(Command::shown)
            .collect()
    }

    #[test]
    fn the_list_can_be_searched() {
        assert!(HARMLESS.is_sorted());
    }

    #[test]
    fn what_only_asks_says_or_removes_is_harmless() {
        for text in [
            "#!/bin/sh\nset -e\nif [ \"$1\" = configure ] && which py3compile >/dev/null 2>&1; then\n\tpy3compile -p x:amd64 # it's so\nfi\nexit 0\n",
            "case \"$1\" in\n  configure|reconfigure) ldconfig ;;\n  (abort-*)\n ;;\n *)\n echo \"unknown \\`$1'\" >&2\n exit 1;;\nesac",
            "x=$(echo $2 | sed 's/^\\(...\\).*/\\1/'); y=`dpkg -L z | grep x`; : $((1 + (2)))",
            "f() {\n  echo hello\n}\nf a b",
            "cat <<-EOF\n\trm -rf /\n\tcp a b\n\tEOF\ntrue",
            "for file in /etc/a /etc/b; do rm -f \"$file\" || true; done",
            "[ $# -gt 0 ] || exit 0; db_get x/y && test \"${RET#a}\" = 1",
        ] {
            assert_eq!(effects(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn what_writes_or_is_not_known_matters() {
        for (text, wanted) in [
            ("adduser --system redis || true", "`adduser --system redis`"),
            ("echo x > /etc/x", "`echo x > /etc/x`"),
            ("cat >> /etc/x <<EOF\nhello\nEOF", "`cat > /etc/x`"),
            ("if true; then cp -p a b; fi", "`cp -p a`"),
            ("f() { chown a b; }\nf", "`chown a b`"),
            ("x=\"$(mktemp -d)\"", "`mktemp -d`"),
            ("case $1 in configure) ln -s a b;; esac", "`ln -s a`"),
            ("sed -i s/a/b/ /etc/x", "`sed -i s/a/b/`"),
            (". /usr/share/x/functions", "`. /usr/share/x/functions`"),
            ("exec update-foo", "`exec update-foo`"),
            ("true && VAR=1 update-foo", "`update-foo`"),
            ("echo \x1b[2J > /x", "`echo \\u{1b}[2J > /x`"),
            ("find / -exec chmod 777 {} +", "`find / -exec`"),
        ] {
            assert_eq!(effects(text), [wanted], "{text}");
        }
    }

    #[test]
    fn what_is_not_closed_ends_with_the_script() {
        for text in [
            "echo 'x",
            "echo \"x $(y",
            "case x in",
            "$(",
            "`",
            "cat <<E\nx",
            "((",
            "f(",
            "\\",
            "${x",
            "> ",
        ] {
            commands(text);
        }
    }
}

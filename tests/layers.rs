//! The rules of imports: each room of `src/` knows those that its row names, and no two files know each other. And how long a
//! function of Lua may be.
//!
//! It reads the source: `use` lines, and paths that begin with `crate`, `super`, `self`, `saslcertd` or a child module. A name that a module only
//! hands on is followed to the file that defines it. Code of tests may import what it likes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Each room, and the rooms that it may import. docs/architecture.md has the same table.
const KNOWS: [(&str, &[&str]); 14] = [
    ("system", &[]),
    ("identity", &[]),
    ("policy", &["identity"]),
    ("store", &["system", "identity"]),
    ("wording", &["identity", "policy"]),
    ("protocol", &["system", "identity", "policy", "wording"]),
    (
        "daemon",
        &[
            "system", "identity", "policy", "store", "wording", "protocol",
        ],
    ),
    ("client", &["identity"]),
    ("extauth", &["identity", "protocol"]),
    ("import_prosody", &["identity", "protocol"]),
    // It judges what these do.
    (
        "doctor",
        &[
            "system", "identity", "policy", "store", "protocol", "daemon", "client",
        ],
    ),
    (
        "cli",
        &[
            "system",
            "identity",
            "policy",
            "store",
            "wording",
            "protocol",
            "daemon",
            "client",
            "extauth",
            "import_prosody",
            "doctor",
        ],
    ),
    ("main", &["cli"]),
    ("manual", &["cli"]),
];

/// Rooms of one file, which the page leaves out.
const BINARIES: [&str; 2] = ["main", "manual"];

/// Crates that stand in some rooms only, or in a folder of one.
const CRATES: [(&str, &[&str]); 9] = [
    // Elsewhere an error is one of an enum that says whose fault it is.
    ("anyhow", &["cli", "main", "manual"]),
    ("sled", &["store/folder"]),
    ("tokio_postgres", &["store/database"]),
    ("tokio_postgres_rustls", &["store/database"]),
    ("x509_parser", &["identity"]),
    ("clap", &["cli", "main", "manual"]),
    ("clap_complete", &["manual"]),
    ("clap_mangen", &["manual"]),
    ("rusqlite", &["import_prosody"]),
];

#[test]
fn each_room_imports_only_the_rooms_that_its_row_names() {
    let house = House::of(&sources());
    assert_eq!(house.broken_layers(), Vec::<String>::new());
}

#[test]
fn the_page_of_the_architecture_has_the_same_rows() {
    let page = include_str!("../docs/architecture.md");
    let section = page.split("\n## The rooms\n").nth(1).unwrap();
    let section = section.split("\n### ").next().unwrap();
    let mut rows = BTreeMap::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let room = cells[0].trim_matches(['`', '/']);
        let known: BTreeSet<&str> = match cells[2] {
            "–" => BTreeSet::new(),
            "all of the others" => {
                let rooms = KNOWS.iter().map(|(room, _)| *room);
                rooms
                    .filter(|other| *other != room && !BINARIES.contains(other))
                    .collect()
            }
            rooms => rooms.split(", ").collect(),
        };
        rows.insert(room, known);
    }
    let of_code = KNOWS.iter().filter(|(room, _)| !BINARIES.contains(room));
    let of_code = of_code.map(|(room, known)| (*room, known.iter().copied().collect()));
    assert_eq!(rows, of_code.collect::<BTreeMap<_, BTreeSet<&str>>>());
}

#[test]
fn some_crates_stand_in_their_room_only() {
    let house = House::of(&sources());
    assert_eq!(house.broken_crates(), Vec::<String>::new());
    for (name, rooms) in CRATES {
        let is_used = rooms.iter().any(|room| house.uses(room, name));
        assert!(is_used, "{name} is used nowhere: take its row out");
    }
}

#[test]
fn no_two_files_import_each_other() {
    let house = House::of(&sources());
    assert_eq!(house.circles(), Vec::<String>::new());
}

/// The store has what takes something back applied by whoever vouches that nobody says yes meanwhile. Only the gate can know that; and a
/// store beside which nobody logs in is opened by tests alone.
#[test]
fn only_the_gate_vouches_that_nobody_says_yes() {
    let sources = sources();
    let vouches = sources.iter().flat_map(|(file, text)| {
        std::iter::repeat_n(file.as_str(), implementations(&bare(text), "Heed"))
    });
    let vouches: Vec<&str> = vouches.collect();
    assert_eq!(vouches, ["daemon/gate.rs", "store/heed.rs"]);
    let opens = |open: &str| {
        let of = sources
            .iter()
            .filter(|(file, _)| !file.ends_with("tests.rs"));
        let of = of.filter(|(_, text)| bare(text).contains(open));
        of.map(|(file, _)| file.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(opens("NoLogins"), ["store/follow.rs", "store/heed.rs"]);
    assert_eq!(opens("Listeners::nobody("), ["store/opening.rs"]);
    assert_eq!(opens("Store::open("), Vec::<&str>::new());
    assert_eq!(opens("Store::open_with("), ["daemon/server.rs"]);
}

/// A pass of a gate of its own would be worth nothing.
#[test]
fn only_the_state_makes_a_gate() {
    let makes_one = |code: &str| code.contains("Gate::new(") || code.contains("Gate {\n");
    let sources = sources();
    let found = sources.iter().filter(|(_, text)| makes_one(&bare(text)));
    let found: Vec<&str> = found.map(|(file, _)| file.as_str()).collect();
    assert_eq!(found, ["daemon/gate.rs", "daemon/state.rs"]);
}

#[test]
fn an_implementation_is_found_in_whatever_form_it_is_written() {
    let code = "impl Heed for A {}\nimpl<T> Heed for T {}\nimpl<T: B>\n    crate::store::Heed\n    for C<T>\n{}\nfn f(by: &impl Heed) {}\ntrait Heed {}\n";
    assert_eq!(implementations(code, "Heed"), 3);
}

/// How often the code implements a trait of this name.
fn implementations(code: &str, name: &str) -> usize {
    let all: Vec<&str> = words(code).map(|(_, word)| word).collect();
    let pairs = all.windows(2);
    pairs.filter(|pair| *pair == [name, "for"]).count()
}

#[test]
fn a_handler_gets_parts_and_never_the_whole_state() {
    let house = House::of(&sources());
    let state = module("daemon/state.rs");
    let knowing = house.imports.keys().filter(|(_, to)| *to == state);
    let knowing: Vec<String> = knowing.map(|(from, _)| house.shown(from)).collect();
    let expected = ["accepting", "dispatch", "exchange", "server", "upkeep"];
    assert_eq!(
        knowing,
        expected.map(|file| format!("src/daemon/{file}.rs"))
    );
}

#[test]
fn no_struct_of_the_daemon_has_many_fields_but_the_state() {
    let mut large: Vec<String> = Vec::new();
    for (path, text) in sources()
        .iter()
        .filter(|(path, _)| path.starts_with("daemon/"))
    {
        for (name, fields) in structs(&bare(text)) {
            if fields > MOST_FIELDS {
                large.push(format!("{path}: {name}"));
            }
        }
    }
    assert_eq!(large, ["daemon/state.rs: State"]);
}

#[test]
fn the_fields_of_a_struct_are_counted_and_not_its_bounds() {
    let code = "pub struct A;\nstruct B(C);\npub(super) struct D<T>\nwhere\n    T: E,\n{\n    f: T,\n    pub g: H,\n}\nstruct I {\n    j: K,\n}\n";
    let expected = [("D".to_owned(), 2), ("I".to_owned(), 1)];
    assert_eq!(structs(code), expected);
}

/// Every struct with named fields, and how many it has. As rustfmt writes them.
fn structs(code: &str) -> Vec<(String, usize)> {
    let mut found: Vec<(String, usize)> = Vec::new();
    let (mut begun, mut is_inside) = (None, false);
    for line in code.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "struct");
        if let (Some(at), false, false) = (at, line.starts_with(' '), line.ends_with(';')) {
            begun = words[at + 1].split(['<', '{']).next();
        }
        // Behind its bounds, if it has any.
        if let (Some(name), true) = (begun, line.ends_with('{')) {
            found.push((name.to_owned(), 0));
            (begun, is_inside) = (None, true);
        } else if line.starts_with('}') {
            is_inside = false;
        } else if let (true, Some((_, fields))) = (is_inside, found.last_mut()) {
            let is_field = line.starts_with("    ") && !line.starts_with("     ");
            *fields += usize::from(is_field && line.contains(':') && !line.trim().starts_with('#'));
        }
    }
    found
}

/// Of a struct in `daemon/`.
const MOST_FIELDS: usize = 8;

/// Of a function of Lua.
const MOST_PARAMETERS: usize = 5;

/// As clippy's `too_many_lines` holds it for Rust.
#[test]
fn no_function_of_lua_is_long() {
    let glue = Path::new(env!("CARGO_MANIFEST_DIR")).join("prosody-glue");
    let files = files_below(&glue, "lua");
    assert!(files.len() > 10, "{files:?}");
    let mut long = Vec::new();
    for (path, text) in files {
        for (line, lines) in lua_functions(&bare_lua(&text)) {
            if lines > MOST_LINES {
                long.push(format!("prosody-glue/{path}:{line}: {lines} lines"));
            }
        }
    }
    assert_eq!(long, Vec::<String>::new());
}

/// As clippy's `too_many_arguments` holds it for Rust.
#[test]
fn no_function_of_lua_takes_many_parameters() {
    let glue = Path::new(env!("CARGO_MANIFEST_DIR")).join("prosody-glue");
    for (path, text) in files_below(&glue, "lua") {
        let code = bare_lua(&text);
        for (at, word) in words(&code).filter(|(_, word)| *word == "function") {
            let parameters = &code[at + word.len()..];
            let end = parameters.find(')').expect("a function has parameters");
            let count = parameters[..end].matches(',').count() + 1;
            let line = line_of(&code, at);
            assert!(count <= MOST_PARAMETERS, "prosody-glue/{path}:{line}");
        }
    }
}

#[test]
fn a_function_of_lua_is_measured_without_comments_and_with_all_that_is_in_it() {
    let code = "local function a(b) -- function\n\n\tif b then return \"end\"; end\n\t-- if\n\tfor i = 1, 2 do\n\t\trepeat until b;\n\tend\nend\nb(function () end, [[\nif]]);\n--[[ if\nfunction\n]]\n";
    assert_eq!(lua_functions(&bare_lua(code)), [(1, 6), (9, 1)]);
}

/// Where each function of Lua begins, and how many lines of code it has; that inside of others, too.
fn lua_functions(code: &str) -> Vec<(usize, usize)> {
    let (mut open, mut found) = (Vec::new(), Vec::new());
    for (at, word) in words(code) {
        match word {
            // `for` and `while` have a `do`.
            "function" | "if" | "do" | "repeat" => open.push((word, at)),
            "end" | "until" => {
                let (what, start) = open.pop().expect("it begins before it ends");
                if what == "function" {
                    let lines = code[start..at].lines();
                    let of_code = lines.filter(|line| !line.trim().is_empty()).count();
                    let last = usize::from(code[..at].ends_with(['\n', '\t']));
                    found.push((line_of(code, start), of_code + last));
                }
            }
            _ => {}
        }
    }
    assert_eq!(open, [], "it ends after it has begun");
    found
}

/// Lua without comments and texts; its lines stay where they are.
fn bare_lua(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(letter) = rest.chars().next() {
        let length = match letter {
            _ if rest.starts_with("[[") || rest.starts_with("--[[") => {
                rest.find("]]").map(|at| at + 2)
            }
            _ if rest.starts_with("--") => rest.find('\n'),
            '"' | '\'' => text_length(rest, letter),
            _ => {
                out.push(letter);
                rest = &rest[letter.len_utf8()..];
                continue;
            }
        };
        let (gone, left) = rest.split_at(length.unwrap_or(rest.len()));
        out.push(' ');
        out.extend(gone.chars().filter(|letter| *letter == '\n'));
        rest = left;
    }
    out
}

/// How many bytes a text in quotes has, with them.
fn text_length(text: &str, quote: char) -> Option<usize> {
    let mut letters = text.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        if letter == '\\' {
            letters.next();
        } else if letter == quote {
            return Some(at + 1);
        }
    }
    None
}

/// Lines of code of one function.
const MOST_LINES: usize = 80;

#[test]
fn a_broken_rule_is_named_with_its_file_and_line() {
    let sources = house_of(&[
        ("identity/mod.rs", "mod jid;\npub use jid::Jid;\n"),
        (
            "identity/jid.rs",
            "//! crate::cli in a comment\n\nuse crate::policy::{\n    login,\n};\nstruct Jid;\n",
        ),
        ("policy/mod.rs", "pub mod login;\n"),
        (
            "policy/login.rs",
            "fn ask() { let _ = \"crate::cli\"; crate::store::open(sled::Config::new()) }\n",
        ),
        (
            "store/mod.rs",
            "mod folder;\nuse sled::Db;\npub fn open() {}\n#[cfg(test)]\nmod tests {\n    use crate::cli::Cli;\n}\n",
        ),
        ("store/folder/mod.rs", "mod engine;\nuse sled::Db;\n"),
        ("store/folder/engine.rs", "use sled::Tree;\n"),
        ("wording/mod.rs", "use ::sled;\n"),
        ("protocol/mod.rs", "type Tree = ::sled::Tree;\n"),
        ("cli/mod.rs", "pub struct Cli;\n"),
        (
            "main.rs",
            "use saslcertd::cli::Cli;\nfn main() { ::saslcertd::identity::x() }\n",
        ),
        ("manual.rs", "use saslcertd::{cli::Cli, store};\n"),
    ]);
    let house = House::of(&sources);
    assert_eq!(
        house.broken_layers(),
        [
            "src/identity/jid.rs:3: identity may not import policy",
            "src/main.rs:2: main may not import identity",
            "src/manual.rs:1: manual may not import store",
            "src/policy/login.rs:1: policy may not import store",
        ]
    );
    assert_eq!(
        house.broken_crates(),
        [
            "src/policy/login.rs:1: the crate sled belongs into store/folder",
            "src/protocol/mod.rs:1: the crate sled belongs into store/folder",
            "src/store/mod.rs:2: the crate sled belongs into store/folder",
            "src/wording/mod.rs:1: the crate sled belongs into store/folder",
        ]
    );
}

#[test]
fn a_circle_is_found_through_names_that_a_module_hands_on() {
    let sources = house_of(&[
        (
            "store/mod.rs",
            "mod a;\nmod b;\npub use a::{Apple, Ash as Tree};\npub use b::*;\n",
        ),
        (
            "store/a.rs",
            "use super::Bee;\npub struct Apple;\npub struct Ash;\n",
        ),
        ("store/b.rs", "pub struct Bee(super::Tree);\n"),
    ]);
    assert_eq!(
        House::of(&sources).circles(),
        ["src/store/a.rs:1 imports src/store/b.rs, src/store/b.rs:1 imports src/store/a.rs"]
    );
}

#[test]
fn what_a_module_defines_itself_and_its_child_takes_is_a_circle() {
    let sources = house_of(&[
        (
            "store/mod.rs",
            "mod a;\nuse a::Apple;\npub struct Store(Apple);\n",
        ),
        ("store/a.rs", "pub struct Apple;\nimpl super::Store {}\n"),
    ]);
    assert_eq!(
        House::of(&sources).circles(),
        ["src/store/mod.rs:2 imports src/store/a.rs, src/store/a.rs:2 imports src/store/mod.rs"]
    );
    // Who may see something is no import.
    let sources = house_of(&[
        (
            "store/mod.rs",
            "mod a;\nuse a::Apple;\npub struct Store(Apple);\n",
        ),
        ("store/a.rs", "pub(in crate::store) struct Apple;\n"),
    ]);
    assert_eq!(House::of(&sources).circles(), Vec::<String>::new());
    // A face that only hands names on imports nobody.
    let sources = house_of(&[
        (
            "store/mod.rs",
            "mod a;\npub use a::Apple;\npub struct Store;\n",
        ),
        ("store/a.rs", "pub struct Apple;\nimpl super::Store {}\n"),
    ]);
    assert_eq!(House::of(&sources).circles(), Vec::<String>::new());
}

#[test]
fn longer_circles_are_found_as_well() {
    let sources = house_of(&[
        ("store/mod.rs", "mod a;\nmod b;\nmod c;\n"),
        ("store/a.rs", "use super::b;\n"),
        ("store/b.rs", "use super::c;\n"),
        ("store/c.rs", "use super::a;\n"),
    ]);
    assert_eq!(
        House::of(&sources).circles(),
        [
            "src/store/a.rs:1 imports src/store/b.rs, src/store/b.rs:1 imports src/store/c.rs, src/store/c.rs:1 imports src/store/a.rs"
        ]
    );
}

/// The text of each file, by its path below `src/`.
type Sources = BTreeMap<String, String>;

fn house_of(files: &[(&str, &str)]) -> Sources {
    let owned = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
    files.iter().map(owned).collect()
}

fn sources() -> Sources {
    files_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "rs")
}

/// The text of each file whose name ends so, by its path below `root`.
fn files_below(root: &Path, extension: &str) -> Sources {
    let mut found = Sources::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|own| own == extension) {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                found.insert(name.to_owned(), fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

/// A module's path: `["store", "view"]`; empty for `lib.rs`.
type Module = Vec<String>;

/// One file, without comments, texts and tests.
struct File {
    path: String,
    code: String,
    /// Names that it binds with `use`, and the paths that they stand for.
    bound: BTreeMap<String, Vec<String>>,
    /// Modules whose names it takes in with `*`.
    globs: Vec<Vec<String>>,
}

/// The files, and which of them imports which.
struct House {
    files: BTreeMap<Module, File>,
    /// From, to, and the line where the first imports the second.
    imports: BTreeMap<(Module, Module), usize>,
}

impl House {
    fn of(sources: &Sources) -> Self {
        let files = sources.iter().filter(|(path, _)| !is_of_tests(path));
        let mut house = Self {
            files: files
                .map(|(path, text)| (module(path), File::of(path, text)))
                .collect(),
            imports: BTreeMap::new(),
        };
        let mut imports = BTreeMap::new();
        for (from, file) in &house.files {
            for (line, path) in file.mentioned(from, |child| house.files.contains_key(child)) {
                let to = house.home(from, &path, 0);
                if to != *from && !to.is_empty() {
                    imports.entry((from.clone(), to)).or_insert(line);
                }
            }
        }
        house.imports = imports;
        house
    }

    /// The module whose file defines what `path`, as it stands in `from`, names.
    fn home(&self, from: &Module, path: &[String], depth: usize) -> Module {
        let mut at: Module = from.clone();
        let mut rest = path;
        while let [first, more @ ..] = rest {
            match first.as_str() {
                "crate" | THIS_CRATE => at.clear(),
                "super" => drop(at.pop()),
                "self" => {}
                _ => break,
            }
            rest = more;
        }
        loop {
            let [first, more @ ..] = rest else { return at };
            let below: Module = at.iter().chain([first]).cloned().collect();
            if self.files.contains_key(&below) {
                at = below;
                rest = more;
                continue;
            }
            let Some(file) = self.files.get(&at) else {
                return at;
            };
            if depth < 8 {
                if let Some(target) = file.bound.get(first) {
                    let target: Vec<String> = target.iter().chain(more).cloned().collect();
                    return self.home(&at, &target, depth + 1);
                }
                for glob in &file.globs {
                    let target = self.home(&at, glob, depth + 1);
                    let defines =
                        |file: &File| file.defines(first) || file.bound.contains_key(first);
                    if target != at && self.files.get(&target).is_some_and(defines) {
                        return self.home(&target, rest, depth + 1);
                    }
                }
            }
            return at;
        }
    }

    fn shown(&self, module: &Module) -> String {
        format!("src/{}", self.files[module].path)
    }

    fn broken_layers(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for ((from, to), line) in &self.imports {
            let (own, other) = (&from[..1.min(from.len())], &to[..1]);
            let ([own], [other]) = (own, other) else {
                continue;
            };
            let row = KNOWS.iter().find(|(room, _)| room == own);
            let Some((_, known)) = row else {
                broken.push(format!("{}:{line}: {own} has no row", self.shown(from)));
                continue;
            };
            if own != other && !known.contains(&other.as_str()) {
                broken.push(format!(
                    "{}:{line}: {own} may not import {other}",
                    self.shown(from)
                ));
            }
        }
        broken
    }

    fn broken_crates(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for (module, file) in &self.files {
            for (name, rooms) in CRATES {
                let is_home = rooms.iter().any(|room| is_below(module, room));
                if let (false, Some(line)) = (is_home, file.line_with(name)) {
                    broken.push(format!(
                        "src/{}:{line}: the crate {name} belongs into {}",
                        file.path,
                        rooms.join(", ")
                    ));
                }
            }
        }
        broken
    }

    fn uses(&self, room: &str, name: &str) -> bool {
        let of_room = self
            .files
            .iter()
            .filter(|(module, _)| is_below(module, room));
        of_room
            .into_iter()
            .any(|(_, file)| file.line_with(name).is_some())
    }

    /// One circle, the shortest, for each file that is in any and not in an earlier one.
    fn circles(&self) -> Vec<String> {
        let mut told = BTreeSet::new();
        let mut circles = Vec::new();
        for start in self.files.keys() {
            let Some(circle) = self.circle_from(start) else {
                continue;
            };
            if circle.iter().any(|module| told.contains(module)) {
                continue;
            }
            let steps = circle.iter().zip(circle.iter().cycle().skip(1));
            let words = steps.map(|(from, to)| {
                let line = self.imports[&(from.clone(), to.clone())];
                format!("{}:{line} imports {}", self.shown(from), self.shown(to))
            });
            circles.push(words.collect::<Vec<_>>().join(", "));
            told.extend(circle);
        }
        circles
    }

    /// The shortest way from `start` back to itself.
    fn circle_from(&self, start: &Module) -> Option<Vec<Module>> {
        let mut ways = vec![vec![start.clone()]];
        let mut seen = BTreeSet::new();
        while !ways.is_empty() {
            let mut longer = Vec::new();
            for way in ways {
                let last = way.last()?;
                let next = self.imports.keys().filter(|(from, _)| from == last);
                for (_, to) in next {
                    if to == start {
                        return Some(way);
                    }
                    if seen.insert(to.clone()) {
                        longer.push(way.iter().chain([to]).cloned().collect());
                    }
                }
            }
            ways = longer;
        }
        None
    }
}

impl File {
    fn of(path: &str, text: &str) -> Self {
        let code = bare(text);
        let (mut bound, mut globs) = (BTreeMap::new(), Vec::new());
        for (_, tree) in uses(&code) {
            for (path, name) in leaves(tree.path) {
                if name == "*" {
                    globs.push(path);
                } else {
                    bound.insert(name, path);
                }
            }
        }
        Self {
            path: path.to_owned(),
            code,
            bound,
            globs,
        }
    }

    /// Every path of this crate's that its code has, and its line. Not those of a child's that it only hands on.
    fn mentioned(
        &self,
        own: &Module,
        is_module: impl Fn(&Module) -> bool,
    ) -> Vec<(usize, Vec<String>)> {
        let is_child = |name: &str| {
            let child: Module = own.iter().cloned().chain([name.to_owned()]).collect();
            is_module(&child)
        };
        let mut found = Vec::new();
        let mut rest = self.code.clone();
        for (at, tree) in uses(&self.code) {
            let end = at + self.code[at..].find(';').unwrap_or(0);
            rest.replace_range(at..end, &" ".repeat(end - at));
            for (path, _) in leaves(tree.path) {
                let is_own = is_in_this_crate(&path[0]);
                let is_handed_on = tree.is_public && is_child(&path[0]);
                if (is_own || is_child(&path[0])) && !is_handed_on {
                    found.push((line_of(&self.code, at), path));
                }
            }
        }
        for (at, path) in paths(&rest) {
            let is_own = is_in_this_crate(&path[0]);
            // Who may see something is nothing that it knows.
            let is_visibility = rest[..at].ends_with("pub(in ");
            if (is_own || is_child(&path[0])) && !is_visibility {
                found.push((line_of(&self.code, at), path));
            }
        }
        found
    }

    fn defines(&self, name: &str) -> bool {
        let kinds = [
            "struct",
            "enum",
            "fn",
            "trait",
            "const",
            "static",
            "type",
            "macro_rules!",
        ];
        words(&self.code).any(|(at, word)| {
            let before = self.code[..at].trim_end();
            word == name && kinds.iter().any(|kind| before.ends_with(kind))
        })
    }

    /// The first line that names a path into the crate.
    fn line_with(&self, name: &str) -> Option<usize> {
        let mut all = words(&self.code);
        let found = all.find(|(at, word)| {
            let (before, after) = (
                self.code[..*at].trim_end(),
                self.code[at + word.len()..].trim_start(),
            );
            let is_used = before.trim_end_matches("::").trim_end().ends_with("use");
            let is_path = after.starts_with("::") || is_used || after.starts_with(" as ");
            *word == name && is_path && !is_inside_a_path(before)
        });
        found.map(|(at, _)| line_of(&self.code, at))
    }
}

/// One `use`, without the word and its semicolon.
struct Use<'a> {
    path: &'a str,
    is_public: bool,
}

/// Every `use` in the code, and where it begins.
fn uses(code: &str) -> Vec<(usize, Use<'_>)> {
    let mut found = Vec::new();
    for (at, word) in words(code) {
        // `impl Trait + use<'a>` is none.
        let after = &code[at + word.len()..];
        if word != "use" || !after.starts_with(char::is_whitespace) {
            continue;
        }
        let Some(end) = after.find(';') else { continue };
        let before = code[..at].trim_end();
        let is_public = before.ends_with("pub") || before.ends_with(')');
        let path = after[..end].trim();
        found.push((at, Use { path, is_public }));
    }
    found
}

/// The paths of a tree, each with the name that it binds.
fn leaves(tree: &str) -> Vec<(Vec<String>, String)> {
    let tree = tree.trim().trim_start_matches("::");
    if let Some(open) = tree.find('{') {
        let (head, inside) = (
            &tree[..open],
            &tree[open + 1..tree.rfind('}').unwrap_or(tree.len())],
        );
        let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
        for (at, letter) in inside.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    parts.push(&inside[start..at]);
                    start = at + 1;
                }
                _ => {}
            }
        }
        parts.push(&inside[start..]);
        let whole = parts.iter().filter(|part| !part.trim().is_empty());
        return whole
            .flat_map(|part| leaves(&format!("{head}{}", part.trim())))
            .collect();
    }
    let (path, name) = match tree.split_once(" as ") {
        Some((path, name)) => (path, Some(name.trim().to_owned())),
        None => (tree, None),
    };
    let mut path: Vec<String> = path
        .split("::")
        .map(|part| part.trim().to_owned())
        .collect();
    let last = path.pop().unwrap_or_default();
    match last.as_str() {
        "*" => vec![(path, "*".to_owned())],
        // `use a::{self}` binds `a`.
        "self" if !path.is_empty() => {
            let name = name.or_else(|| path.last().cloned());
            vec![(path, name.unwrap_or_default())]
        }
        _ => {
            path.push(last.clone());
            vec![(path, name.unwrap_or(last))]
        }
    }
}

/// Every path of two parts and more, and where it begins.
fn paths(code: &str) -> Vec<(usize, Vec<String>)> {
    let mut found: Vec<(usize, Vec<String>)> = Vec::new();
    let mut end = 0;
    for (at, word) in words(code) {
        let is_more = at >= 2 && code[..at].ends_with("::") && end + 2 == at;
        match found.last_mut() {
            Some((_, path)) if is_more => path.push(word.to_owned()),
            // The end of a path whose beginning is no word: `<T>::new`.
            _ if is_inside_a_path(&code[..at]) => {}
            _ => found.push((at, vec![word.to_owned()])),
        }
        end = at + word.len();
    }
    found.retain(|(_, path)| path.len() > 1);
    found
}

fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_of_word = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '!';
    let mut start = None;
    code.char_indices()
        .chain([(code.len(), ' ')])
        .filter_map(move |(at, letter)| {
            if is_of_word(letter) {
                start.get_or_insert(at);
                return None;
            }
            start.take().map(|start| (start, &code[start..at]))
        })
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// Does a path that begins so lead to a file of `src/`?
fn is_in_this_crate(first: &str) -> bool {
    matches!(first, "crate" | "super" | "self" | THIS_CRATE)
}

/// Is the word behind this code not the first of its path? A leading `::` is no part of one.
fn is_inside_a_path(before: &str) -> bool {
    let head = before.strip_suffix("::");
    head.is_some_and(|head| {
        head.ends_with(|last: char| last.is_alphanumeric() || ['_', '>'].contains(&last))
    })
}

/// As the binaries name it.
const THIS_CRATE: &str = "saslcertd";

/// Is it the module of this folder, or one below it?
fn is_below(module: &[String], folder: &str) -> bool {
    let mut parts = module.iter();
    folder
        .split('/')
        .all(|part| parts.next().is_some_and(|own| own == part))
}

/// Files that only tests are built of.
fn is_of_tests(path: &str) -> bool {
    path.ends_with("tests.rs") || path.contains("/tests/") || path.ends_with("fixtures.rs")
}

fn module(path: &str) -> Module {
    let parts = path.trim_end_matches(".rs").split('/').map(str::to_owned);
    let mut module: Module = parts.collect();
    match module.last().map(String::as_str) {
        Some("mod") => drop(module.pop()),
        Some("lib") if module.len() == 1 => module.clear(),
        _ => {}
    }
    module
}

/// The code without comments, texts, and what stands behind `#[cfg(test)]` at the end; its lines stay where they are.
fn bare(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let text: Vec<char> = text[..end].chars().collect();
    let mut out = String::new();
    let mut at = 0;
    let starts = |at: usize, mark: &str| {
        mark.chars()
            .enumerate()
            .all(|(i, c)| text.get(at + i) == Some(&c))
    };
    while at < text.len() {
        let stop = if starts(at, "//") {
            let mut stop = at;
            while stop < text.len() && text[stop] != '\n' {
                stop += 1;
            }
            stop
        } else if let Some(hashes) = raw_text_at(&text, at) {
            let close = format!("\"{}", "#".repeat(hashes));
            let mut stop = at + 2 + hashes;
            while stop < text.len() && !starts(stop, &close) {
                stop += 1;
            }
            stop + close.len()
        } else if text[at] == '"' {
            let mut stop = at + 1;
            while stop < text.len() && text[stop] != '"' {
                stop += if text[stop] == '\\' { 2 } else { 1 };
            }
            stop + 1
        } else if text[at] == '\''
            && (text.get(at + 1) == Some(&'\\') || text.get(at + 2) == Some(&'\''))
        {
            // A letter, and no lifetime.
            let mut stop = at
                + if text.get(at + 1) == Some(&'\\') {
                    3
                } else {
                    2
                };
            while stop < text.len() && text[stop] != '\'' {
                stop += 1;
            }
            stop + 1
        } else {
            out.push(text[at]);
            at += 1;
            continue;
        };
        let gone = &text[at..stop.min(text.len())];
        out.push(' ');
        out.extend(gone.iter().filter(|letter| **letter == '\n'));
        at = stop;
    }
    out
}

/// How many `#` a raw text has that begins here.
fn raw_text_at(text: &[char], at: usize) -> Option<usize> {
    let is_in_word =
        at > 0 && (text[at - 1].is_alphanumeric() || text[at - 1] == '_') && text[at - 1] != 'b';
    if text[at] != 'r' || is_in_word {
        return None;
    }
    let hashes = text[at + 1..]
        .iter()
        .take_while(|letter| **letter == '#')
        .count();
    (text.get(at + 1 + hashes) == Some(&'"')).then_some(hashes)
}

//! Reads what Prosody's storage writes: a Lua file that returns one value made of literals. It is parsed, never
//! evaluated; what has to be evaluated (a name, a call, an operator) is refused.
//!
//! Must not know: files, accounts, certificates.

use std::collections::BTreeMap;
use std::fmt;

/// A value. Strings are bytes, as in Lua.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Nil,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    String(Vec<u8>),
    Table(Table),
}

/// A table, in the order of its keys. A key whose value is nil is not in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Table(BTreeMap<Key, Value>);

/// A key. Floats without a fraction are integers, as in Lua.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Boolean(bool),
    Integer(i64),
    /// The bits of the number.
    Float(u64),
    String(Vec<u8>),
}

/// Why a file is not such a value: where, and what should have stood there. Never quotes the file, which holds passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ParseError {
    line: usize,
    expected: &'static str,
}

/// The value that the file `bytes` returns.
///
/// Source: Lua 5.4 reference manual, 3.1 and 3.4.9; Prosody's `util.serialization`.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, ParseError> {
    let mut reader = Reader {
        rest: bytes,
        line: 1,
        values: 0,
    };
    reader.skip_space()?;
    if reader.word() != b"return" {
        return Err(reader.expected("\"return\""));
    }
    let value = reader.value(MAX_NESTING)?;
    reader.skip_space()?;
    reader.take(b";");
    reader.skip_space()?;
    match reader.peek() {
        None => Ok(value),
        Some(_) => Err(reader.expected("the end of the file")),
    }
}

impl Value {
    /// Whether Lua's `if` takes it for true.
    pub(super) fn is_true(&self) -> bool {
        !matches!(self, Self::Nil | Self::Boolean(false))
    }

    /// As a whole number: integers, and floats without a fraction.
    pub(super) fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(integer) => Some(*integer),
            Self::Float(float) => whole(*float),
            _ => None,
        }
    }

    pub(super) fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::String(bytes) => Some(bytes),
            _ => None,
        }
    }
}

impl Table {
    /// The value of the string `key`.
    pub(super) fn field(&self, key: &str) -> Option<&Value> {
        self.0.get(&Key::String(key.as_bytes().to_vec()))
    }

    /// Keys and values, in the order of the keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.0.iter()
    }

    /// Sets `key`, and returns the value that it had.
    pub(super) fn insert(&mut self, key: Key, value: Value) -> Option<Value> {
        match value {
            Value::Nil => self.0.remove(&key),
            value => self.0.insert(key, value),
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: expected {}", self.line, self.expected)
    }
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    rest: &'a [u8],
    line: usize,
    values: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        self.line += usize::from(*first == b'\n');
        Some(*first)
    }

    /// Takes `prefix` if it comes next. It holds no newline.
    fn take(&mut self, prefix: &[u8]) -> bool {
        let rest = self.rest.strip_prefix(prefix);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Takes bytes as long as they are `wanted`, newlines never.
    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let is_other = |byte: &u8| *byte == b'\n' || !wanted(*byte);
        let end = self.rest.iter().position(is_other);
        let (taken, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        taken
    }

    fn expected(&self, expected: &'static str) -> ParseError {
        ParseError {
            line: self.line,
            expected,
        }
    }

    fn skip_space(&mut self) -> Result<(), ParseError> {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\n' | b'\r' | b'\x0b' | b'\x0c') => {
                    self.next();
                }
                Some(b'-') if self.take(b"--") => match self.long_bracket() {
                    Some(level) => {
                        self.long_string(level)?;
                    }
                    None => {
                        self.take_while(|byte| byte != b'\r');
                    }
                },
                _ => return Ok(()),
            }
        }
    }

    /// A keyword or a name; empty when none comes next.
    fn word(&mut self) -> &'a [u8] {
        if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return &[];
        }
        self.take_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    }

    fn value(&mut self, levels_left: usize) -> Result<Value, ParseError> {
        self.skip_space()?;
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(self.expected("at most 100000 values"));
        }
        match self.peek() {
            Some(b'{') if levels_left == 0 => Err(self.expected("at most 64 tables in each other")),
            Some(b'{') => self.table(levels_left - 1).map(Value::Table),
            Some(b'"' | b'\'') => self.quoted().map(Value::String),
            Some(b'[') => match self.long_bracket() {
                Some(level) => self.long_string(level).map(Value::String),
                None => Err(self.expected(A_VALUE)),
            },
            Some(b'(') => self.quotient(),
            Some(b'-' | b'.' | b'0'..=b'9') => self.number(),
            _ => {
                let before = *self;
                match self.word() {
                    b"nil" => Ok(Value::Nil),
                    b"true" => Ok(Value::Boolean(true)),
                    b"false" => Ok(Value::Boolean(false)),
                    _ => Err(before.expected(A_VALUE)),
                }
            }
        }
    }

    fn table(&mut self, levels_left: usize) -> Result<Table, ParseError> {
        self.take(b"{");
        let mut table = Table::default();
        let mut position = 0;
        loop {
            self.skip_space()?;
            if self.take(b"}") {
                return Ok(table);
            }
            let start = *self;
            let (key, value) = if let Some(key) = self.key(levels_left)? {
                self.skip_space()?;
                if !self.take(b"=") {
                    return Err(self.expected("\"=\""));
                }
                (key, self.value(levels_left)?)
            } else {
                position += 1;
                (Key::Integer(position), self.value(levels_left)?)
            };
            if table.insert(key, value).is_some() {
                return Err(start.expected("each key once"));
            }
            self.skip_space()?;
            if !self.take(b";") && !self.take(b",") && self.peek() != Some(b'}') {
                return Err(self.expected("\";\", \",\" or \"}\""));
            }
        }
    }

    /// The key of the next field; `None` when it has none, and a position is its key.
    fn key(&mut self, levels_left: usize) -> Result<Option<Key>, ParseError> {
        if self.peek() == Some(b'[') && self.long_bracket().is_none() {
            let start = *self;
            self.take(b"[");
            let key = match self.value(levels_left)? {
                Value::String(bytes) => Key::String(bytes),
                Value::Boolean(boolean) => Key::Boolean(boolean),
                Value::Integer(integer) => Key::Integer(integer),
                Value::Float(float) if !float.is_nan() => match whole(float) {
                    Some(integer) => Key::Integer(integer),
                    None => Key::Float(float.to_bits()),
                },
                Value::Nil | Value::Float(_) | Value::Table(_) => {
                    return Err(start.expected("a string, a number or a boolean as key"));
                }
            };
            self.skip_space()?;
            if !self.take(b"]") {
                return Err(self.expected("\"]\""));
            }
            return Ok(Some(key));
        }
        let before = *self;
        let word = self.word();
        if word.is_empty() || [&b"nil"[..], b"true", b"false"].contains(&word) {
            *self = before;
            return Ok(None);
        }
        Ok(Some(Key::String(word.to_vec())))
    }

    /// `(1/0)`, `(-1/0)` and `(0/0)`: how Prosody writes what is no finite number.
    fn quotient(&mut self) -> Result<Value, ParseError> {
        let forms: [(&[u8], f64); 3] = [
            (b"(1/0)", f64::INFINITY),
            (b"(-1/0)", f64::NEG_INFINITY),
            (b"(0/0)", f64::NAN),
        ];
        let found = forms.iter().find(|(form, _)| self.take(form));
        let (_, float) = found.ok_or_else(|| self.expected(A_VALUE))?;
        Ok(Value::Float(*float))
    }

    fn number(&mut self) -> Result<Value, ParseError> {
        let start = *self;
        let is_negative = self.take(b"-");
        let digits = self.rest;
        self.take_while(|byte| byte.is_ascii_digit());
        let mut is_integer = true;
        if self.take(b".") {
            is_integer = false;
            self.take_while(|byte| byte.is_ascii_digit());
        }
        if self.take(b"e") || self.take(b"E") {
            is_integer = false;
            let _sign = self.take(b"+") || self.take(b"-");
            self.take_while(|byte| byte.is_ascii_digit());
        }
        let length = digits.len() - self.rest.len();
        let more = self.take_while(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte));
        let text = digits.get(..length).map(std::str::from_utf8);
        let (Some(Ok(text)), true) = (text, more.is_empty()) else {
            return Err(start.expected("a decimal number"));
        };
        if is_integer && let Ok(integer) = text.parse::<i64>() {
            return Ok(Value::Integer(if is_negative { -integer } else { integer }));
        }
        let float = text.parse::<f64>();
        let float = float.map_err(|_| start.expected("a decimal number"))?;
        Ok(Value::Float(if is_negative { -float } else { float }))
    }

    fn quoted(&mut self) -> Result<Vec<u8>, ParseError> {
        let start = *self;
        let quote = self.next();
        let mut bytes = Vec::new();
        loop {
            let before = *self;
            match self.next() {
                None | Some(b'\n' | b'\r') => return Err(start.expected("a string that ends")),
                Some(b'\\') => self.escape(&mut bytes).ok_or_else(|| {
                    before.expected("after a backslash one of Lua's escape sequences")
                })?,
                byte if byte == quote => return Ok(bytes),
                Some(byte) => bytes.push(byte),
            }
        }
    }

    /// Appends what stands behind a backslash; `None` if it means nothing.
    fn escape(&mut self, bytes: &mut Vec<u8>) -> Option<()> {
        let digit = |reader: &mut Self, radix| {
            let digit = char::from(reader.peek()?).to_digit(radix)?;
            reader.next();
            Some(digit)
        };
        let byte = match self.next()? {
            b'a' => b'\x07',
            b'b' => b'\x08',
            b'f' => b'\x0c',
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => b'\x0b',
            quoted @ (b'\\' | b'"' | b'\'') => quoted,
            b'\n' => {
                self.take(b"\r");
                b'\n'
            }
            b'\r' => {
                if self.peek() == Some(b'\n') {
                    self.next();
                }
                b'\n'
            }
            b'z' => {
                let is_space = |byte: u8| byte.is_ascii_whitespace() || byte == b'\x0b';
                while self.peek().is_some_and(is_space) {
                    self.next();
                }
                return Some(());
            }
            b'x' => u8::try_from(digit(self, 16)? * 16 + digit(self, 16)?).ok()?,
            b'u' => {
                if !self.take(b"{") {
                    return None;
                }
                let mut code = digit(self, 16)?;
                while let Some(next) = digit(self, 16) {
                    code = code.checked_mul(16)? + next;
                }
                // Lua goes further than Unicode. No text does.
                let letter = char::from_u32(code)?;
                bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                return self.take(b"}").then_some(());
            }
            first @ b'0'..=b'9' => {
                let mut code = u32::from(first - b'0');
                for _ in 0..2 {
                    match digit(self, 10) {
                        Some(next) => code = code * 10 + next,
                        None => break,
                    }
                }
                u8::try_from(code).ok()?
            }
            _ => return None,
        };
        bytes.push(byte);
        Some(())
    }

    /// How many `=` stand in the opening bracket of a long string (`[[`, `[=[`), if one comes next.
    fn long_bracket(&self) -> Option<usize> {
        let behind = self.rest.strip_prefix(b"[")?;
        let level = behind.iter().take_while(|byte| **byte == b'=').count();
        (behind.get(level) == Some(&b'[')).then_some(level)
    }

    fn long_string(&mut self, level: usize) -> Result<Vec<u8>, ParseError> {
        let start = *self;
        let mut close = vec![b'='; level + 2];
        for end in [0, level + 1] {
            if let Some(bracket) = close.get_mut(end) {
                *bracket = b']';
            }
        }
        self.rest = self.rest.get(level + 2..).unwrap_or_default();
        let mut bytes = Vec::new();
        let mut is_first = true;
        loop {
            if self.peek() == Some(b']') && self.take(&close) {
                return Ok(bytes);
            }
            let byte = match self.next() {
                None => return Err(start.expected("a long string or comment that ends")),
                // Any end of a line is one newline; a first one is none.
                Some(newline @ (b'\n' | b'\r')) => {
                    if matches!(
                        (newline, self.peek()),
                        (b'\n', Some(b'\r')) | (b'\r', Some(b'\n'))
                    ) {
                        self.next();
                    }
                    (!is_first).then_some(b'\n')
                }
                byte => byte,
            };
            is_first = false;
            bytes.extend(byte);
        }
    }
}

/// `float` as an integer, if it is one.
fn whole(float: f64) -> Option<i64> {
    // 2^53: beyond it a float does not say which integer is meant.
    let is_exact = float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0;
    #[allow(clippy::cast_possible_truncation)]
    is_exact.then_some(float as i64)
}

const A_VALUE: &str = "a string, a number, a boolean, nil or a table";
const MAX_NESTING: usize = 64;
const MAX_VALUES: usize = 100_000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    fn string(text: &str) -> Value {
        Value::String(text.as_bytes().to_vec())
    }

    fn table(fields: &[(&str, Value)]) -> Value {
        let mut table = Table::default();
        for (name, value) in fields {
            table.insert(Key::String(name.as_bytes().to_vec()), value.clone());
        }
        Value::Table(table)
    }

    fn list(values: &[Value]) -> Value {
        let mut table = Table::default();
        for (position, value) in (1..).zip(values) {
            table.insert(Key::Integer(position), value.clone());
        }
        Value::Table(table)
    }

    #[test]
    fn what_prosody_writes_is_read() {
        let file = b"return {\n\t[\"salt\"] = \"3c7\\\"e\\000\\255\\\\\";\n\t[\"iteration_count\"] = 10000;\n\
                     \t[\"disabled\"] = true;\n\t[\"nested\"] = {\n\t\t\"one\";\n\t\t(1/0);\n\t};\n};\n";
        let Ok(Value::Table(read)) = parse(file) else {
            panic!("not a table");
        };
        assert_eq!(
            read.field("salt"),
            Some(&Value::String(b"3c7\"e\0\xff\\".to_vec()))
        );
        assert_eq!(read.field("iteration_count"), Some(&Value::Integer(10_000)));
        assert_eq!(read.field("disabled"), Some(&Value::Boolean(true)));
        let nested = list(&[string("one"), Value::Float(f64::INFINITY)]);
        assert_eq!(read.field("nested"), Some(&nested));
        assert_eq!(read.field("absent"), None);
    }

    #[test]
    fn every_literal_has_its_value() {
        let cases: &[(&str, Value)] = &[
            ("return nil", Value::Nil),
            ("return true;", Value::Boolean(true)),
            (" \t\r\n\x0b\x0creturn\nfalse\n;\n", Value::Boolean(false)),
            ("return\"a\"", string("a")),
            ("return{}", table(&[])),
            ("return 0", Value::Integer(0)),
            ("return -17", Value::Integer(-17)),
            ("return 1.5", Value::Float(1.5)),
            ("return -.5", Value::Float(-0.5)),
            ("return 4.", Value::Float(4.0)),
            ("return 1e+20", Value::Float(1e20)),
            ("return 2E3", Value::Float(2000.0)),
            ("return 1e9999", Value::Float(f64::INFINITY)),
            ("return 9223372036854775807", Value::Integer(i64::MAX)),
            (
                "return 9223372036854775808",
                Value::Float(9_223_372_036_854_775_808.0),
            ),
            ("return (1/0)", Value::Float(f64::INFINITY)),
            ("return (-1/0)", Value::Float(f64::NEG_INFINITY)),
            ("return 'it\"s'", string("it\"s")),
            (
                r#"return "\a\b\f\n\r\t\v\\\"\'""#,
                string("\x07\x08\x0c\n\r\t\x0b\\\"'"),
            ),
            (r#"return "\0\65\0667\x42""#, string("\0AB7B")),
            (r#"return "\u{fc}\u{20AC}""#, string("ü€")),
            ("return \"a\\\nb\\\r\nc\"", string("a\nb\nc")),
            ("return \"a\\z  \n  b\"", string("ab")),
            ("return [[a\r\nb]]", string("a\nb")),
            ("return [==[\n]]]=]\"]==]", string("]]]=]\"")),
            (
                "-- one\nreturn --[[ two\n ]] --[=[ ]] ]=] 3 -- three",
                Value::Integer(3),
            ),
            (
                "return {1, 2; 3,}",
                list(&[Value::Integer(1), Value::Integer(2), Value::Integer(3)]),
            ),
            (
                "return { a = 1, ['b'] = 'c', [ [[d]] ] = {} }",
                table(&[
                    ("a", Value::Integer(1)),
                    ("b", string("c")),
                    ("d", table(&[])),
                ]),
            ),
            ("return { a = nil }", table(&[])),
            ("return { nil, true, [3.0] = {} }", {
                let mut two = Table::default();
                two.insert(Key::Integer(2), Value::Boolean(true));
                two.insert(Key::Integer(3), table(&[]));
                Value::Table(two)
            }),
        ];
        for (text, value) in cases {
            assert_eq!(parse(text.as_bytes()).as_ref(), Ok(value), "{text}");
        }
        let Ok(Value::Float(nan)) = parse(b"return (0/0)") else {
            panic!("not a float");
        };
        assert!(nan.is_nan());
    }

    #[test]
    fn strings_are_bytes_and_need_not_be_text() {
        let read = parse(b"return \"\\255\xfe\xc3\"").unwrap();
        assert_eq!(read.as_bytes(), Some(&b"\xff\xfe\xc3"[..]));
    }

    #[test]
    fn what_would_have_to_be_evaluated_is_refused() {
        let cases = [
            "",
            "return",
            "{}",
            "returning {}",
            "local a = 1 return a",
            "return os.execute('true')",
            "return a",
            "return 1 + 1",
            "return 'a' .. 'b'",
            "return ('a')",
            "return (2/0)",
            "return #{}",
            "return not true",
            "return -'1'",
            "return - 1",
            "return 0x10",
            "return 1.2.3",
            "return 1e",
            "return .",
            "return 12abc",
            "return function() end",
            "return {} {}",
            "return {}; return {}",
            "return {} -- then\n print(1)",
            "return { f() }",
            "return { a.b = 1 }",
            "return { [nil] = 1 }",
            "return { [(0/0)] = 1 }",
            "return { [{}] = 1 }",
            "return { ['a' = 1 }",
            "return { ['a'] 1 }",
            "return { 1 2 }",
            "return { , }",
            "return {;}",
            "return { 1;; }",
            "return {",
            "return { a =",
            "return { a = 1, a = 2 }",
            "return { 'x', [1] = 'y' }",
            "return \"a",
            "return \"a\nb\"",
            "return 'a\"",
            r#"return "\q""#,
            r#"return "\256""#,
            r#"return "\x4""#,
            r#"return "\u{110000}""#,
            r#"return "\u{fffffffffffffff}""#,
            r#"return "\u{}""#,
            "return [[a",
            "return [=[a]]",
            "return [=a",
            "return 1 --[[",
            "\u{feff}return {}",
            "#!/usr/bin/lua\nreturn {}",
            "\x1bLua",
        ];
        for text in cases {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn an_error_says_where_and_what_was_expected_and_quotes_nothing() {
        let cases = [
            (
                "return {\n\t[\"password\"] = secret;\n};\n",
                "line 2: expected a string, a number, a boolean, nil or a table",
            ),
            (
                "return {\n\n\t\"a\" \"b\"\n}",
                "line 3: expected \";\", \",\" or \"}\"",
            ),
            (
                "return {\n\t[\"a\"] = \"secret;\n}",
                "line 2: expected a string that ends",
            ),
            ("secret", "line 1: expected \"return\""),
        ];
        for (text, said) in cases {
            assert_eq!(parse(text.as_bytes()).unwrap_err().to_string(), said);
        }
    }

    #[test]
    fn nesting_and_the_number_of_values_are_bounded() {
        let nested = |levels| format!("return {}{}", "{".repeat(levels), "}".repeat(levels));
        assert!(parse(nested(64).as_bytes()).is_ok());
        assert!(parse(nested(65).as_bytes()).is_err());
        let never_closed = format!("return {}", "{".repeat(1 << 20));
        assert!(parse(never_closed.as_bytes()).is_err());
        let wide = |values| format!("return {{{}}}", "1,".repeat(values));
        assert!(parse(wide(99_999).as_bytes()).is_ok());
        assert!(parse(wide(100_000).as_bytes()).is_err());
    }

    /// As `util.serialization` does it.
    fn serialized(value: &Value, out: &mut Vec<u8>) {
        match value {
            Value::Nil => out.extend(b"nil"),
            Value::Boolean(boolean) => out.extend(boolean.to_string().bytes()),
            Value::Integer(integer) => out.extend(integer.to_string().bytes()),
            Value::Float(float) => out.extend(format!("{float:e}").bytes()),
            Value::String(bytes) => {
                out.push(b'"');
                for byte in bytes {
                    match byte {
                        b'\n' => out.extend(b"\\n"),
                        b'"' | b'\\' | b'\'' => out.extend([b'\\', *byte]),
                        b' '..=b'~' => out.push(*byte),
                        other => out.extend(format!("\\{other:03}").bytes()),
                    }
                }
                out.push(b'"');
            }
            Value::Table(table) => {
                out.extend(b"{\n");
                for (key, value) in table.iter() {
                    let key = match key {
                        Key::Boolean(boolean) => Value::Boolean(*boolean),
                        Key::Integer(integer) => Value::Integer(*integer),
                        Key::Float(bits) => Value::Float(f64::from_bits(*bits)),
                        Key::String(bytes) => Value::String(bytes.clone()),
                    };
                    out.extend(b"\t[");
                    serialized(&key, out);
                    out.extend(b"] = ");
                    serialized(value, out);
                    out.extend(b";\n");
                }
                out.push(b'}');
            }
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::Boolean),
            (-i64::MAX..i64::MAX).prop_map(Value::Integer),
            any::<Vec<u8>>().prop_map(Value::String),
            (-1e300..1e300_f64).prop_map(Value::Float),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            let key = prop_oneof![
                any::<Vec<u8>>().prop_map(Key::String),
                (1..9_i64).prop_map(Key::Integer),
                any::<bool>().prop_map(Key::Boolean),
            ];
            proptest::collection::btree_map(key, inner, 0..8)
                .prop_map(|fields| Value::Table(Table(fields)))
        })
    }

    proptest! {
        #[test]
        fn what_was_serialized_is_read_as_it_was(value in values()) {
            let mut file = b"return ".to_vec();
            serialized(&value, &mut file);
            file.extend(b";\n");
            prop_assert_eq!(parse(&file), Ok(value));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in any::<Vec<u8>>()) {
            let _ = parse(&bytes);
            let _ = parse(&[b"return ", bytes.as_slice()].concat());
            let _ = parse(&[b"return {[\"", bytes.as_slice()].concat());
        }

        #[test]
        fn arbitrary_lua_never_panics(text in r#"return [\[\]{}()=;,"'\\a-z0-9.\-+\n /eu]{0,60}"#) {
            let _ = parse(text.as_bytes());
        }
    }
}

//! Text from outside (API messages, brokers' words, names) made safe to log and to print.
//!
//! # Invariants
//! The only place where such text is escaped, so that it looks the same wherever it is met.

/// The longest that a text from outside becomes, in characters.
const LONGEST: usize = 200;

/// Without white space at its ends; control characters and those that reorder or break lines are escaped, all others
/// stay as they are, and it ends with `…` where it would be over 200 characters.
pub fn quote(text: &str) -> String {
    let mut quoted = String::new();
    let mut length = 0;
    // Where the text must end if `…` has to follow.
    let mut last_fit = 0;
    for character in text.trim().chars() {
        if is_unsafe(character) {
            let escaped = character.escape_default();
            length += escaped.len();
            quoted.extend(escaped);
        } else {
            length += 1;
            quoted.push(character);
        }
        if length > LONGEST {
            quoted.truncate(last_fit);
            quoted.push('…');
            return quoted;
        }
        if length < LONGEST {
            last_fit = quoted.len();
        }
    }
    quoted
}

/// Control characters, line and paragraph separators, and what changes the direction of text (Unicode UAX #9) or
/// takes no room, so that a line says what it shows.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}

//! Progress on a terminal: the real program in a pseudo-terminal of 80 columns, and what one who looks at it sees.

use std::process::{Command, Stdio};

use jumpstream::emulator::Options;

use crate::process::{Home, Settings, emulate, eventually};

const COLUMNS: usize = 80;

/// What a terminal shows, as far as ours is written to: rows that are never scrolled away, and a cursor.
struct Terminal {
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
    /// The most rows with the bar at once, whenever a line was ended.
    most_bars: usize,
    /// Different bars that were seen.
    bars: Vec<String>,
}

impl Terminal {
    fn after(text: &str) -> Terminal {
        let mut terminal = Terminal { rows: vec![Vec::new()], row: 0, column: 0, most_bars: 0, bars: Vec::new() };
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            match character {
                '\r' => terminal.column = 0,
                '\n' => terminal.down(1),
                '\x1b' => {
                    let mut sequence = Vec::new();
                    while !sequence.last().is_some_and(char::is_ascii_alphabetic) {
                        sequence.extend(Some(rest.next().expect("a whole sequence")));
                    }
                    terminal.control(&sequence);
                }
                character => terminal.put(character),
            }
            terminal.count();
        }
        terminal
    }

    fn control(&mut self, sequence: &[char]) {
        let ['[', numbers @ .., last] = sequence else { panic!("{sequence:?} is no control sequence") };
        let number: usize = numbers.iter().collect::<String>().parse().unwrap_or(0);
        match last {
            'A' => self.row = self.row.saturating_sub(number.max(1)),
            'B' => self.down(number.max(1)),
            'G' => self.column = number.saturating_sub(1),
            'K' if number == 2 => self.rows[self.row].clear(),
            'K' if number == 0 => self.rows[self.row].truncate(self.column),
            // Colours, and whether the cursor is seen.
            'm' | 'h' | 'l' => {}
            other => panic!("the terminal of this test knows no {other:?} ({sequence:?})"),
        }
    }

    fn down(&mut self, rows: usize) {
        self.row += rows;
        self.rows.resize(self.rows.len().max(self.row + 1), Vec::new());
    }

    fn put(&mut self, character: char) {
        if self.column == COLUMNS {
            self.column = 0;
            self.down(1);
        }
        let row = &mut self.rows[self.row];
        row.resize(row.len().max(self.column + 1), ' ');
        row[self.column] = character;
        self.column += 1;
    }

    fn count(&mut self) {
        let bars: Vec<String> = self.lines().into_iter().filter(|line| line.contains(" events · ")).collect();
        self.most_bars = self.most_bars.max(bars.len());
        if let Some(bar) = bars.into_iter().next().filter(|bar| self.bars.last() != Some(bar)) {
            self.bars.push(bar);
        }
    }

    fn lines(&self) -> Vec<String> {
        self.rows.iter().map(|row| row.iter().collect::<String>().trim_end().to_owned()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bar_is_redrawn_in_place_below_the_log_and_goes_when_the_past_is_read() {
    let latency = "60ms".parse().unwrap();
    let keys = vec!["jca_emulator".to_owned(), "jca_another".to_owned()];
    let emulator = emulate(Options { events: 6_000, latency, keys, ..Options::default() }).await;
    let poll = "{interval: 1s, start: 24h, page_size: 100}";
    let home = Home::new(Settings { poll, ..Settings::of(&emulator) });
    let run = format!(
        "stty cols {COLUMNS} rows 24; exec {} run --config c.yaml --until-caught-up",
        env!("CARGO_BIN_EXE_jumpstream")
    );
    let mut script = Command::new("script");
    script.args(["-qefc", &run, "typescript"]).current_dir(home.folder()).env("TERM", "xterm");
    script.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut script = script.spawn().expect("`script` of util-linux is there");
    let typed = || String::from_utf8_lossy(&std::fs::read(home.path("typescript")).unwrap_or_default()).into_owned();
    eventually("the bar is there", async || typed().contains(" events · ").then_some(())).await;
    // Told in a line above the bar.
    home.write("key", "jca_another");
    let ended = eventually("it ends", async || script.try_wait().unwrap()).await;
    let typed = typed();
    assert!(ended.success(), "{ended}: {typed}");

    // `script` itself writes a first and a last line.
    let shown = typed.split_inclusive('\n').filter(|line| !line.starts_with("Script "));
    let terminal = Terminal::after(&shown.collect::<String>());
    assert_eq!(terminal.most_bars, 1, "{}", terminal.lines().join("\n"));
    assert!(terminal.bars.len() > 5, "it moves: {:?}", terminal.bars);
    assert!(terminal.bars.iter().any(|bar| bar.contains(" % · ") && bar.ends_with("left")), "{:?}", terminal.bars);
    let lines = terminal.lines();
    assert!(!lines.iter().any(|line| line.contains(" · ")), "the bar goes: {}", lines.join("\n"));
    for said in ["stream opened", "the api key has changed", "caught up"] {
        assert_eq!(lines.concat().matches(said).count(), 1, "{said}: {}", lines.join("\n"));
    }
}

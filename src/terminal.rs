//! A terminal for a live view: drawing, keys, and restoring it at the end, after a panic, too.
//!
//! What this process and its children write to standard error meanwhile would disturb the view: it is held back, can be
//! shown in the view ([`Terminal::logged`]), and is written when the terminal is left. Views draw with the types that are
//! exported here, so that no other file names `ratatui`.
//!
//! ```text
//! let mut terminal = Terminal::enter()?;          // only where Terminal::is_possible()
//! terminal.draw(|frame| frame.render_widget("hello", frame.area()))?;
//! let key = terminal.key(Duration::from_millis(100))?;
//! let tail = terminal.leave();                    // a drop leaves, too
//! tail.wait();                                    // once the children have ended: their last lines
//! ```

mod log;

use std::{
    env,
    io::{self, IsTerminal as _, Stdout},
    mem::ManuallyDrop,
    panic,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

#[cfg(test)]
use ratatui::backend::TestBackend;
pub(crate) use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Layout, Rect},
    style::{Color, Modifier, Style, Stylize},
    text::{Line, Span},
    widgets::{Cell, Paragraph, Row, Table, Wrap},
};
use ratatui::{
    backend::CrosstermBackend,
    crossterm::{
        cursor::Show,
        event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
        execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::retry_on_intr,
};

use self::log::Log;

/// A key, or another event that a view reacts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// A character, including the space.
    Char(char),
    /// Enter.
    Enter,
    /// Backspace.
    Backspace,
    /// Escape.
    Escape,
    /// Tab.
    Tab,
    /// Shift and Tab.
    BackTab,
    /// The cursor keys.
    Up,
    /// See [`Key::Up`].
    Down,
    /// See [`Key::Up`].
    Left,
    /// See [`Key::Up`].
    Right,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// To the beginning.
    Home,
    /// To the end.
    End,
    /// Ctrl-C, which is no signal in raw mode.
    Interrupt,
    /// The terminal has another size: draw again.
    Resized,
}

/// The terminal of a view; restored when this is dropped.
#[derive(Debug)]
pub(crate) struct Terminal {
    /// Never dropped: if the terminal was closed, its drop prints to standard error, which panics.
    screen: ManuallyDrop<ratatui::Terminal<CrosstermBackend<Stdout>>>,
    held: Arc<Held>,
    /// How many lines of the log were returned.
    lines_seen: u64,
}

/// The log of children that still run after the terminal was left.
#[derive(Debug)]
pub(crate) struct Tail(Arc<Held>);

/// The state that the panic hook shares.
#[derive(Debug)]
struct Held {
    is_left: AtomicBool,
    /// `None` where standard error is not this terminal, and so cannot disturb the view.
    log: Option<Log>,
}

impl Terminal {
    /// Whether standard input and output are a terminal that can position its cursor.
    #[must_use]
    pub(crate) fn is_possible() -> bool {
        let can_place = env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
        can_place && io::stdin().is_terminal() && io::stdout().is_terminal()
    }

    /// Switches the terminal to raw mode and the alternate screen.
    ///
    /// To be called before children are started whose standard error must not disturb the view.
    ///
    /// # Errors
    /// When there is no terminal. Nothing has changed then.
    pub(crate) fn enter() -> io::Result<Self> {
        let log = if io::stderr().is_terminal() { Some(Log::capture()?) } else { None };
        let held = Arc::new(Held { is_left: AtomicBool::new(false), log });
        let tail = Tail(Arc::clone(&held));
        let screen = Self::take().inspect_err(|_| tail.0.leave())?;
        let (in_panic, before) = (Arc::clone(&held), panic::take_hook());
        panic::set_hook(Box::new(move |info| {
            in_panic.leave();
            before(info);
        }));
        Ok(Self { screen: ManuallyDrop::new(screen), held, lines_seen: 0 })
    }

    fn take() -> io::Result<ratatui::Terminal<CrosstermBackend<Stdout>>> {
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen)?;
        ratatui::Terminal::new(CrosstermBackend::new(io::stdout()))
    }

    /// Draws a view; only what changed is sent to the terminal.
    ///
    /// # Errors
    /// When the terminal was closed.
    pub(crate) fn draw(&mut self, view: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.screen.draw(view).map(drop)
    }

    /// Waits for a key, no longer than `within`. Events that no view needs are `None`.
    ///
    /// # Errors
    /// When the terminal was closed.
    pub(crate) fn key(&mut self, within: Duration) -> io::Result<Option<Key>> {
        // The library loops on a terminal that was closed, so it is only called after our own poll.
        wait(Duration::ZERO)?;
        if !event::poll(Duration::ZERO)? {
            wait(within)?;
            if !event::poll(Duration::ZERO)? {
                return Ok(None);
            }
        }
        Ok(match event::read()? {
            Event::Key(event) => key(event),
            Event::Resize(..) => Some(Key::Resized),
            _ => None,
        })
    }

    /// The lines written to standard error since the last call, without colours.
    pub(crate) fn logged(&mut self) -> Vec<String> {
        let Some(log) = &self.held.log else { return Vec::new() };
        let (lines, seen) = log.since(self.lines_seen);
        self.lines_seen = seen;
        lines.iter().map(|line| plain(line)).collect()
    }

    /// Restores the terminal, and writes what was logged meanwhile.
    pub(crate) fn leave(self) -> Tail {
        self.held.leave();
        Tail(Arc::clone(&self.held))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.held.leave();
    }
}

impl Tail {
    /// Waits, two seconds at most, until all children that were started meanwhile have ended, so that their last lines come
    /// before what is written next.
    pub(crate) fn wait(self) {
        if let Some(log) = &self.0.log {
            log.wait();
        }
    }
}

impl Held {
    /// Only once: a second time would move the cursor. Failures mean that the terminal was closed.
    fn leave(&self) {
        if self.is_left.swap(true, Ordering::SeqCst) {
            return;
        }
        execute!(io::stdout(), LeaveAlternateScreen, Show).ok();
        disable_raw_mode().ok();
        if let Some(log) = &self.log {
            log.release();
        }
    }
}

/// Waits until something can be read from the terminal, no longer than `within`.
fn wait(within: Duration) -> io::Result<()> {
    let keys = io::stdin();
    let mut fds = [PollFd::new(&keys, PollFlags::IN)];
    let within = Timespec::try_from(within).map_err(io::Error::other)?;
    retry_on_intr(|| poll(&mut fds, Some(&within)))?;
    if fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the terminal was closed"));
    }
    Ok(())
}

/// Translates a key. Terminals that report the release of a key report its press, too.
fn key(event: KeyEvent) -> Option<Key> {
    if event.kind == KeyEventKind::Release {
        return None;
    }
    Some(match event.code {
        KeyCode::Char('c' | 'C') if event.modifiers.contains(KeyModifiers::CONTROL) => Key::Interrupt,
        KeyCode::Char(_) if event.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) => return None,
        KeyCode::Char(sign) => Key::Char(sign),
        KeyCode::Enter => Key::Enter,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Esc => Key::Escape,
        KeyCode::Tab => Key::Tab,
        KeyCode::BackTab => Key::BackTab,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        _ => return None,
    })
}

/// A line without escape sequences (`ESC [ … m`) and control characters.
fn plain(line: &str) -> String {
    let mut shown = String::new();
    let mut signs = line.chars();
    while let Some(sign) = signs.next() {
        if sign == '\x1b' {
            // A sequence ends with its first letter.
            signs.by_ref().find(char::is_ascii_alphabetic);
        } else if !sign.is_control() {
            shown.push(sign);
        }
    }
    shown
}

/// What a view shows on a terminal of this size, line by line.
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a screen in memory has no errors")]
pub(crate) fn shown(width: u16, height: u16, view: impl FnOnce(&mut Frame<'_>)) -> String {
    let mut screen = ratatui::Terminal::new(TestBackend::new(width, height)).unwrap();
    let buffer = screen.draw(view).unwrap().buffer.clone();
    let line = |y: u16| (0..width).map(|x| buffer[(x, y)].symbol().to_owned()).collect::<String>();
    (0..height).map(|y| format!("{}\n", line(y).trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_translated() {
        let pressed = |code, modifiers| key(KeyEvent::new(code, modifiers));
        assert_eq!(pressed(KeyCode::Char('q'), KeyModifiers::NONE), Some(Key::Char('q')));
        assert_eq!(pressed(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Key::Interrupt));
        assert_eq!(pressed(KeyCode::Char('q'), KeyModifiers::ALT), None);
        assert_eq!(pressed(KeyCode::F(1), KeyModifiers::NONE), None);
        assert_eq!(pressed(KeyCode::BackTab, KeyModifiers::SHIFT), Some(Key::BackTab));
        let release = KeyEvent::new_with_kind(KeyCode::Enter, KeyModifiers::NONE, KeyEventKind::Release);
        assert_eq!(key(release), None);
    }

    #[test]
    fn a_line_has_no_escape_sequences() {
        assert_eq!(plain("08:00 \x1b[33mwarning\x1b[0m camera lost\x07"), "08:00 warning camera lost");
        assert_eq!(plain("cut \x1b[3"), "cut ");
    }

    #[test]
    fn a_view_is_shown() {
        assert_eq!(shown(6, 2, |frame| frame.render_widget("hello", frame.area())), "hello\n\n");
    }
}

//! Standard input, as the server's script reads it.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{LocalFlags, SetArg, cfmakeraw, tcgetattr, tcsetattr};

use super::wire::Input;

/// Standard input. Not Rust's own reader, whose buffer is never wiped.
pub(super) struct StandardInput(File);

impl StandardInput {
    /// Opens it, and makes a terminal one that changes nothing of what is written.
    pub(super) fn open() -> io::Result<Self> {
        let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        if file.is_terminal() {
            let mut settings = tcgetattr(&file)?;
            // A server's, like that of Prosody's module: with an echo it would read its own requests. It would edit
            // them, and a password that holds its "erase the line" would choose who gets it.
            if !settings.local_flags.contains(LocalFlags::ECHO) {
                let output_flags = settings.output_flags;
                cfmakeraw(&mut settings);
                settings.output_flags = output_flags;
                tcsetattr(&file, SetArg::TCSANOW, &settings)?;
            }
        }
        Ok(Self(file))
    }
}

impl Read for StandardInput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Input for StandardInput {
    fn has_more(&mut self) -> io::Result<bool> {
        let mut asked = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        poll(&mut asked, PollTimeout::ZERO)?;
        let [found] = asked.map(|one| one.revents().unwrap_or(PollFlags::empty()));
        Ok(found.contains(PollFlags::POLLIN))
    }
}

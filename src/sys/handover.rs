//! One program takes another's place in the same process: files of memory, descriptors that outlive `execve`, and
//! the call itself.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::{FdFlags, fcntl_setfd};

/// Copies of descriptors are no lower: the first three are a program's own.
const LOWEST: RawFd = 3;

/// An empty file of memory.
///
/// # Errors
/// No memory or no descriptor is left.
pub fn memory_file(name: &CStr) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    Ok(memfd_create(name, flags)?)
}

/// Nobody changes the file from now on.
///
/// # Errors
/// It is none of memory.
pub fn seal(file: impl AsFd) -> io::Result<()> {
    let all = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    Ok(fcntl_add_seals(file, all)?)
}

/// The program that this process executes.
///
/// # Errors
/// There is no /proc.
pub fn own_program() -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    Ok(rustix::fs::open("/proc/self/exe", flags, Mode::empty())?)
}

/// Descriptors for the next program. They close themselves at `execve` until it is about to be called.
#[derive(Debug, Default)]
pub struct Kept(Vec<RawFd>);

impl Kept {
    /// Keeps a descriptor, which must stay open until then: the number by which the next program finds it,
    /// never 0.
    pub fn keep(&mut self, fd: impl AsFd) -> u64 {
        let fd = fd.as_fd().as_raw_fd();
        self.0.push(fd);
        u64::try_from(fd).unwrap_or_default().saturating_add(1)
    }

    /// All numbers that were given.
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        let numbers = self.0.iter().map(|fd| u64::try_from(*fd));
        numbers.map(|fd| fd.unwrap_or_default().saturating_add(1))
    }

    fn set(&self, flags: FdFlags) {
        for fd in &self.0 {
            // SAFETY: whoever has kept it holds it open.
            let fd = unsafe { BorrowedFd::borrow_raw(*fd) };
            // A descriptor that is open takes these flags.
            let _ = fcntl_setfd(fd, flags);
        }
    }
}

/// A copy of the descriptor of a number that [`Kept::keep`] has given to the program before this one, which stays
/// open for the case that a third one goes on; `None`: 0.
///
/// # Errors
/// It is not open.
pub fn adopt(number: u64) -> io::Result<Option<OwnedFd>> {
    let Some(fd) = raw(number) else {
        return Ok(None);
    };
    // SAFETY: asked for a copy alone, which of a number that is not open is an error.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    Ok(Some(rustix::io::fcntl_dupfd_cloexec(fd, LOWEST)?))
}

/// Closes the descriptors of these numbers: all that is needed of them was adopted.
pub fn close(numbers: &[u64]) {
    for fd in numbers.iter().filter_map(|number| raw(*number)) {
        // SAFETY: the program before this one has left it open, and nobody here owns it.
        unsafe { rustix::io::close(fd) };
    }
}

fn raw(number: u64) -> Option<RawFd> {
    RawFd::try_from(number.checked_sub(1)?).ok()
}

/// Executes a program that is open, with these arguments and nothing in its environment. Returns only what went
/// wrong; then all is as it was.
pub fn execute(program: BorrowedFd<'_>, arguments: &[&CStr], kept: &Kept) -> io::Error {
    let mut list: Vec<_> = arguments.iter().map(|argument| argument.as_ptr()).collect();
    list.push(std::ptr::null());
    let environment = [std::ptr::null::<libc::c_char>()];
    kept.set(FdFlags::empty());
    // SAFETY: both lists end with a null pointer, and all of it is alive until the call returns.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            list.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    let error = io::Error::last_os_error();
    kept.set(FdFlags::CLOEXEC);
    error
}

#[cfg(test)]
mod tests {
    use rustix::io::fcntl_getfd;

    use super::*;

    #[test]
    fn a_sealed_file_takes_nothing_more() {
        let file = memory_file(c"test").expect("memory");
        assert_eq!(rustix::io::write(&file, b"once").expect("memory"), 4);
        seal(&file).expect("a file of memory");
        assert!(rustix::io::write(&file, b"more").is_err());
        assert!(rustix::fs::ftruncate(&file, 0).is_err() && seal(&file).is_err());
    }

    #[test]
    fn a_descriptor_is_adopted_and_the_one_that_was_left_is_closed() {
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        let mut kept = Kept::default();
        let number = kept.keep(&reader);
        kept.set(FdFlags::empty());
        assert!(fcntl_getfd(&reader).expect("open").is_empty());
        assert!(kept.numbers().eq([number]));
        std::mem::forget(reader);
        let reader = adopt(number).expect("open").expect("a number");
        assert_eq!(fcntl_getfd(&reader).expect("open"), FdFlags::CLOEXEC);
        close(&[0, number]);
        rustix::io::write(&writer, b"x").expect("room");
        assert_eq!(rustix::io::read(&reader, &mut [0; 8]).expect("a byte"), 1);
        assert!(adopt(0).expect("none").is_none());
        assert!(adopt(1_000_000).is_err());
    }

    #[test]
    fn what_is_no_program_is_refused_and_nothing_is_lost() {
        let file = memory_file(c"test").expect("memory");
        rustix::io::write(&file, b"no program").expect("memory");
        let (reader, _writer) = rustix::pipe::pipe().expect("a pipe");
        let mut kept = Kept::default();
        kept.keep(&reader);
        let error = execute(file.as_fd(), &[c"x"], &kept);
        assert!(error.raw_os_error().is_some(), "{error}");
        assert_eq!(fcntl_getfd(&reader).expect("open"), FdFlags::CLOEXEC);
    }
}

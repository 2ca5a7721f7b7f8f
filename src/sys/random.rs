//! Random numbers that differ from boot to boot, without waiting for the kernel's pool to fill.

use std::os::fd::AsRawFd as _;

use rustix::rand::{GetRandomFlags, getrandom};

/// A number that no two boots share. Where the kernel has not gathered randomness yet it is not
/// secret, only different: what it is mixed with then tells one boot from another.
pub fn different_each_boot() -> u64 {
    let mut bytes = [0u8; 8];
    let (bytes, _) = bytes.as_chunks_mut::<8>();
    let Some(bytes) = bytes.first_mut() else {
        return 0;
    };
    if getrandom(&mut *bytes, GetRandomFlags::NONBLOCK).is_ok() {
        return u64::from_ne_bytes(*bytes);
    }
    // Early in a boot without a random device: the kernel's best so far, and two clocks.
    // A failure leaves zeroes, which the clocks still make differ.
    let _ = getrandom(&mut *bytes, GetRandomFlags::INSECURE);
    let wall = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let up = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let clocks = [wall.tv_sec, wall.tv_nsec, up.tv_nsec];
    clocks
        .iter()
        .fold(u64::from_ne_bytes(*bytes), |mixed, clock| {
            // One round of a 64-bit multiplicative hash (the golden ratio) for each.
            (mixed ^ clock.cast_unsigned())
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29)
        })
}

/// Random bytes that nobody else has. Waits until the kernel has gathered enough randomness, a second
/// at most where it makes its own (Linux 5.4 and up).
///
/// # Errors
/// What the system call says.
pub fn secret() -> std::io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    // Requests of up to 256 bytes are never cut short, says getrandom(2).
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(bytes)
}

/// Mixes bytes into the kernel's pool, and has all that it gives out from now on depend on them.
///
/// # Errors
/// What the system calls say.
pub fn stir(bytes: &[u8]) -> std::io::Result<()> {
    let pool = std::fs::File::options().write(true).open("/dev/urandom")?;
    rustix::io::write(&pool, bytes)?;
    // SAFETY: RNDRESEEDCRNG (random(4), Linux 4.14 and up) takes no argument; the descriptor is open.
    unsafe { reseed(pool.as_raw_fd()) }?;
    Ok(())
}

nix::ioctl_none!(
    /// RNDRESEEDCRNG of linux/random.h.
    reseed,
    b'R',
    7
);

#[cfg(test)]
mod tests {
    #[test]
    fn two_numbers_differ() {
        assert_ne!(super::different_each_boot(), super::different_each_boot());
    }
}

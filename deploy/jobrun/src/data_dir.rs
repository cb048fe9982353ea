//! The data folder of `jobrun up`. One `jobrun up` at a time uses it, and it holds secrets that are generated for it.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use secrecy::SecretString;

/// The mode of files that only their owner may read.
const OWNER_ONLY: u32 = 0o600;

/// A data folder, locked until this is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    // The locked file. It holds our process id until everything has been stopped.
    lock: File,
    was_killed: bool,
}

impl DataDir {
    /// Opens the folder `path`, which is created if it is missing, and keeps every other `jobrun up` out of it.
    ///
    /// # Errors
    /// When another `jobrun up` uses it, or it cannot be written.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        if !path.is_dir() {
            fs::create_dir_all(path).with_context(|| format!("making the folder {shown}"))?;
            fs::set_permissions(path, Permissions::from_mode(0o700))?;
        }
        let path = path.canonicalize()?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(OWNER_ONLY);
        let mut lock = options.open(path.join("lock")).with_context(|| format!("the folder {shown} is not usable"))?;
        let locked = lock.try_lock();
        let mut pid = String::new();
        lock.read_to_string(&mut pid)?;
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "another `jobrun up` (process {}) uses the folder {shown}: stop it, or choose another folder with --data \
                 (or JOBRUN_DATA)",
                pid.trim()
            ),
            Err(TryLockError::Error(error)) => return Err(error).context(format!("locking the folder {shown}")),
        }
        let was_killed = !pid.trim().is_empty();
        lock.set_len(0)?;
        lock.rewind()?;
        write!(lock, "{}", std::process::id())?;
        Ok(Self { path, lock, was_killed })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether the last `jobrun up` here was killed. Its programs may then still be about to end.
    #[must_use]
    pub const fn was_killed(&self) -> bool {
        self.was_killed
    }

    /// Records that everything has been stopped.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn leave(self) -> anyhow::Result<()> {
        Ok(self.lock.set_len(0)?)
    }

    /// Returns the secret `name`, 32 hexadecimal digits, which is generated at random on first use.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn secret(&self, name: &str) -> anyhow::Result<SecretString> {
        let file = self.path.join(name);
        if !file.exists() {
            let new = self.path.join(format!("{name}.new"));
            // Atomic: the file gets its name only when its content is on the disk.
            write_secret(&new, &random_hex()?)?;
            fs::rename(&new, &file)?;
            File::open(&self.path)?.sync_all()?;
        }
        let shown = file.display();
        let secret = fs::read_to_string(&file).with_context(|| format!("reading {shown}"))?;
        let is_whole = secret.len() == 32 && secret.bytes().all(|byte| byte.is_ascii_hexdigit());
        ensure!(is_whole, "{shown} is not a secret that `jobrun up` has made: delete the file, and a new one is made");
        Ok(SecretString::from(secret))
    }
}

/// Writes a file that only its owner may read.
///
/// # Errors
/// When it cannot be written.
pub fn write_secret(file: &Path, secret: &str) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(OWNER_ONLY).open(file);
    let mut opened = opened.with_context(|| format!("writing {}", file.display()))?;
    opened.set_permissions(Permissions::from_mode(OWNER_ONLY))?;
    opened.write_all(secret.as_bytes())?;
    Ok(opened.sync_all()?)
}

/// Returns 32 hexadecimal digits from the system's random numbers.
///
/// # Errors
/// When they cannot be read.
pub fn random_hex() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn one_process_at_a_time_uses_a_folder_and_its_secrets_are_kept() {
        let path = std::env::temp_dir().join(format!("jobrun-data-dir-{}", std::process::id()));
        let dir = DataDir::open(&path).unwrap();
        let secret = dir.secret("token").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&path.join("token"))), (0o700, 0o600));
        let refused = DataDir::open(&path).unwrap_err().to_string();
        assert!(
            refused.contains(&format!("(process {})", std::process::id())) && refused.contains("--data"),
            "{refused}"
        );
        dir.leave().unwrap();

        let dir = DataDir::open(&path).unwrap();
        assert!(!dir.was_killed());
        let (again, other) = (dir.secret("token").unwrap(), dir.secret("other").unwrap());
        assert_eq!(again.expose_secret(), secret.expose_secret());
        assert_ne!(other.expose_secret(), secret.expose_secret());
        // Dropped without `leave`, as when the process is killed.
        drop(dir);
        let dir = DataDir::open(&path).unwrap();
        assert!(dir.was_killed());
        fs::write(path.join("token"), "").unwrap();
        assert!(dir.secret("token").unwrap_err().to_string().contains("delete the file"));
        fs::remove_dir_all(path).unwrap();
    }
}

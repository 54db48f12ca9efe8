//! Where everything lies in a data folder, and as which user the servers run.
//!
//! | in the data folder | |
//! | --- | --- |
//! | `lock` | held by the guard as long as servers run; names the process that they run for |
//! | `secrets.json` | generated passwords, readable by the owner alone |
//! | `log/` | what the servers print |
//! | `servers/` | their data; a link to elsewhere where the servers' user can't enter the data folder |

use std::fs::{self, File, TryLockError};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{ErrorKind, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

/// How long a guard that is closing its servers is waited for.
const CLOSING_SECONDS_MAX: u64 = 60;
/// Where the servers' data goes when their user can't enter the data folder.
const ELSEWHERE: &str = "/var/lib/onhand";

/// Passwords of the private servers. They listen on the loopback interface, which every user of the machine can reach.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Secrets {
    pub(crate) postgres: String,
    pub(crate) rabbitmq: String,
    /// The Erlang cookie.
    pub(crate) cookie: String,
}

/// A user of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// A data folder that is ours until the lock is dropped.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) data: PathBuf,
    /// As whom the servers run, where not as ourselves.
    pub(crate) user: Option<User>,
    pub(crate) secrets: Secrets,
    _lock: File,
}

impl Layout {
    /// Takes a data folder.
    pub(crate) fn take(data: &Path, progress: &dyn Fn(&str)) -> Result<Self> {
        fs::create_dir_all(data.join("log")).with_context(|| format!("{} can't be created", data.display()))?;
        let lock = lock(data, progress)?;
        let secrets = secrets(data)?;
        Ok(Self { data: data.to_owned(), user: None, secrets, _lock: lock })
    }

    /// Makes the folder of the servers' data. To be called when the servers are installed: a package may have made the
    /// user that they run as.
    pub(crate) fn prepare(&mut self, progress: &dyn Fn(&str)) -> Result<()> {
        self.user = server_user()?;
        self.make_servers_folder(progress)
    }

    /// A server's own folder, made where it is not there and given to its user.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.data.join("servers").join(name);
        fs::create_dir_all(&folder).with_context(|| format!("{} can't be created", folder.display()))?;
        self.give(&folder)?;
        Ok(folder)
    }

    /// Gives a file or folder to the servers' user.
    pub(crate) fn give(&self, path: &Path) -> Result<()> {
        if let Some(User { uid, gid }) = self.user {
            chown(path, Some(uid), Some(gid)).with_context(|| format!("{} can't be given away", path.display()))?;
        }
        Ok(())
    }

    /// A command that will run as the servers' user, printing to a log of its own.
    pub(crate) fn command(&self, program: &Path, folder: &Path, log: &str) -> Result<Command> {
        let log = self.log_path(log);
        let log = File::options().create(true).append(true).open(&log).with_context(|| format!("{}", log.display()))?;
        let mut command = Command::new(program);
        command.current_dir(folder).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        if let Some(User { uid, gid }) = self.user {
            command.uid(uid).gid(gid);
        }
        Ok(command)
    }

    pub(crate) fn log_path(&self, name: &str) -> PathBuf {
        self.data.join("log").join(format!("{name}.log"))
    }

    /// The last line of a log, for an error's sake.
    pub(crate) fn last_words(&self, name: &str) -> String {
        let path = self.log_path(name);
        let log = fs::read(&path).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let last = log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        format!("{} (more in {})", last.trim(), path.display())
    }

    fn make_servers_folder(&self, progress: &dyn Fn(&str)) -> Result<()> {
        let folder = self.data.join("servers");
        if folder.symlink_metadata().is_err() {
            fs::create_dir_all(&folder)?;
            self.give(&folder)?;
        }
        let Some(user) = self.user else { return Ok(()) };
        if can_enter(&folder, user) {
            return Ok(());
        }
        let mut hash = DefaultHasher::new();
        self.data.hash(&mut hash);
        let elsewhere = Path::new(ELSEWHERE).join(format!("{:016x}", hash.finish()));
        progress(&format!(
            "the servers' user can't enter {}: their data is in {}",
            self.data.display(),
            elsewhere.display()
        ));
        fs::create_dir_all(&elsewhere)?;
        self.give(&elsewhere)?;
        fs::remove_dir(&folder).with_context(|| format!("{} is not empty", folder.display()))?;
        symlink(&elsewhere, &folder)?;
        if can_enter(&folder.canonicalize()?, user) {
            Ok(())
        } else {
            bail!("the servers' user can't enter {ELSEWHERE}")
        }
    }
}

fn can_enter(folder: &Path, user: User) -> bool {
    let mut test = Command::new("test");
    test.arg("-w").arg(folder).uid(user.uid).gid(user.gid).current_dir("/");
    test.status().is_ok_and(|status| status.success())
}

fn lock(data: &Path, progress: &dyn Fn(&str)) -> Result<File> {
    let path = data.join("lock");
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
    let deadline = Instant::now() + Duration::from_secs(CLOSING_SECONDS_MAX);
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error).context(path.display().to_string()),
        }
        let mut owner = String::new();
        file.rewind()?;
        file.read_to_string(&mut owner)?;
        if Path::new("/proc").join(owner.trim()).join("stat").exists() && !owner.trim().is_empty() {
            bail!(
                "process {} is running on {}: stop it, or name another folder with --data DIR",
                owner.trim(),
                data.display()
            );
        }
        if Instant::now() > deadline {
            bail!("an earlier run is still closing its servers on {}: try again in a minute", data.display());
        }
        if !told {
            progress("waiting for an earlier run to close its servers");
            told = true;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "{}", std::os::unix::process::parent_id())?;
    Ok(file)
}

fn secrets(data: &Path) -> Result<Secrets> {
    let path = data.join("secrets.json");
    match fs::read(&path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).with_context(|| format!("{} can't be read: pass --fresh", path.display()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let secrets = Secrets { postgres: generate(), rabbitmq: generate(), cookie: generate() };
            let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(&serde_json::to_vec(&secrets)?)?;
            Ok(secrets)
        }
        Err(error) => Err(error).context(path.display().to_string()),
    }
}

/// 128 random bits in hexadecimal.
fn generate() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// PostgreSQL refuses to run as root: then the servers run as the user that its package made, or as nobody.
fn server_user() -> Result<Option<User>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").context("/etc/passwd can't be read")?;
    let user = find_user(&users, "postgres").or_else(|| find_user(&users, "nobody"));
    user.map(Some).context("PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody`")
}

fn find_user(users: &str, name: &str) -> Option<User> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(User { uid, gid })
    })
}

/// Makes a file that only its owner can read.
pub(crate) fn write_private(path: &Path, contents: &str) -> std::io::Result<()> {
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(contents.as_bytes())
}

/// Deletes what this module and the servers have made, and nothing else.
pub(crate) fn wipe(data: &Path) -> Result<()> {
    if !data.exists() {
        return Ok(());
    }
    let held = lock(data, &|_| {})?;
    let servers = data.join("servers");
    if let Ok(elsewhere) = fs::read_link(&servers) {
        fs::remove_file(&servers)?;
        delete(&elsewhere)?;
    }
    for path in [servers, data.join("log"), data.join("secrets.json")] {
        delete(&path)?;
    }
    drop(held);
    Ok(())
}

fn delete(path: &Path) -> Result<()> {
    let deleted = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match deleted {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} can't be deleted", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let users =
            "root:x:0:0:root:/root:/bin/sh\npostgres2:x:7:7::/:/bin/sh\npostgres:x:104:110:,,,:/var/lib:/bin/bash";
        assert_eq!(find_user(users, "postgres"), Some(User { uid: 104, gid: 110 }));
        assert_eq!(find_user(users, "nobody"), None);
    }

    #[test]
    fn a_folder_is_wiped_of_ours_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("servers/postgres")).expect("made");
        fs::write(folder.path().join("mine"), "kept").expect("written");
        wipe(folder.path()).expect("wiped");
        assert!(!folder.path().join("servers").exists());
        assert!(folder.path().join("mine").exists());
    }
}

//! Finds the servers' programs, or installs them: Debian packages, as root or with sudo; elsewhere it says what to do.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// Installs its arguments. While it runs, packages start no services: the servers here are private (`policy-rc.d` of the
/// Debian policy, section 9.3.3.1). A machine that has a policy of its own keeps it.
const INSTALL: &str = r#"
set -e
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi
apt-get update
apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"
"#;
const RABBITMQ: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// Where the programs are.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    /// The folder of `postgres`, `initdb` and their like.
    pub(crate) postgres: PathBuf,
    pub(crate) rabbitmq: PathBuf,
}

/// Finds what is needed, installing what is missing.
pub(crate) fn programs(postgres: bool, rabbitmq: bool, log: &Path, progress: &dyn Fn(&str)) -> Result<Programs> {
    let mut missing = Vec::new();
    if postgres && find_postgres().is_none() {
        missing.push("postgresql");
    }
    if rabbitmq && find_rabbitmq().is_none() {
        missing.push("rabbitmq-server");
    }
    if !missing.is_empty() {
        install(&missing, log, progress)?;
    }
    let found = |found: Option<PathBuf>, needed: bool, name: &str| match found {
        None if needed => bail!("{name} was installed and is still not found"),
        found => Ok(found.unwrap_or_default()),
    };
    Ok(Programs {
        postgres: found(find_postgres(), postgres, "PostgreSQL")?,
        rabbitmq: found(find_rabbitmq(), rabbitmq, "RabbitMQ")?,
    })
}

/// Where a program of a package is that is needed beside the servers, installing it where it is missing.
pub(crate) fn program(name: &str, package: &str, log: &Path, progress: &dyn Fn(&str)) -> Result<PathBuf> {
    let find = || path().map(|folder| folder.join(name)).find(|program| program.exists());
    if find().is_none() {
        install(&[package], log, progress)?;
    }
    match find() {
        Some(program) => Ok(program),
        None => bail!("{package} was installed and {name} is still not found"),
    }
}

fn find_postgres() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok().into_iter().flatten().flatten();
    let mut folders: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    folders.sort();
    let newest_first = folders.into_iter().rev().map(|(_, folder)| folder);
    newest_first.chain(path()).find(|folder| folder.join("postgres").exists() && folder.join("initdb").exists())
}

fn find_rabbitmq() -> Option<PathBuf> {
    // The one on Debian's PATH insists on being root or its own user: the one in its library folder does not.
    let on_path = path().map(|folder| folder.join("rabbitmq-server"));
    std::iter::once(PathBuf::from(RABBITMQ)).chain(on_path).find(|program| program.exists())
}

fn path() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect::<Vec<_>>().into_iter()
}

fn install(packages: &[&str], log: &Path, progress: &dyn Fn(&str)) -> Result<()> {
    let names = packages.join(" ");
    if !path().any(|folder| folder.join("apt-get").exists()) {
        bail!(
            "{names} not found, and this is no Debian: install it (of PostgreSQL and RabbitMQ there may be others: set DATABASE_URL and AMQP_URL)"
        );
    }
    let sudo = !rustix::process::geteuid().is_root();
    if sudo && !succeeds(Command::new("sudo").args(["-n", "true"])) {
        bail!("{names} not found, and only root can install them: sudo apt-get install {names}");
    }
    progress(&format!("installing {names} (once; see {})", log.display()));
    // One installation at a time, also between several runs of this program.
    let lock =
        File::options().create(true).append(true).mode(0o666).open(std::env::temp_dir().join("onhand-install.lock"))?;
    lock.lock()?;
    let output = File::options().create(true).append(true).open(log)?;
    let mut command = if sudo { Command::new("sudo") } else { Command::new("sh") };
    if sudo {
        command.args(["-n", "sh"]);
    }
    command.args(["-c", INSTALL, "sh"]).args(packages).stdin(Stdio::null());
    let status = command.stdout(output.try_clone()?).stderr(output).status()?;
    if !status.success() {
        bail!("apt-get has failed (see {}): install them yourself: apt-get install {names}", log.display());
    }
    Ok(())
}

fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

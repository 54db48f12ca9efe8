//! A private PostgreSQL: on the loopback interface, with a password, fsync on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use crate::layout::{Layout, write_private};
use crate::process::{self, Waited, free_port};

const USER: &str = "onhand";
const DATABASE: &str = "onhand";
const LOG: &str = "postgres";
/// Recovery after a crash replays what was written since the last checkpoint.
const START_SECONDS_MAX: u64 = 120;
const STOP_SECONDS_MAX: u64 = 20;

pub(crate) struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    settings: Vec<(String, String)>,
    child: Option<Child>,
}

impl Postgres {
    /// Ends what an earlier run has left, makes the database cluster where there is none, and starts the server.
    pub(crate) fn start(layout: &Layout, programs: &Path, settings: &[(String, String)]) -> Result<Self> {
        let folder = layout.folder("postgres")?.canonicalize()?;
        let mut postgres = Self {
            programs: programs.to_owned(),
            folder,
            port: free_port()?,
            settings: settings.to_vec(),
            child: None,
        };
        let pid_file = postgres.cluster().join("postmaster.pid");
        let mark = postgres.cluster().display().to_string();
        process::end_leftover(&pid_file, &mark, Signal::INT, Duration::from_secs(STOP_SECONDS_MAX));
        if !postgres.cluster().exists() {
            postgres.init(layout)?;
        }
        postgres.run(layout)?;
        postgres.create_database(layout)?;
        Ok(postgres)
    }

    pub(crate) fn url(&self, layout: &Layout) -> String {
        format!("postgres://{USER}:{}@127.0.0.1:{}/{DATABASE}", layout.secrets.postgres, self.port)
    }

    fn cluster(&self) -> PathBuf {
        self.folder.join("cluster")
    }

    /// Made beside its place and moved there when it is whole, so that one that was cut off is not taken for whole.
    fn init(&self, layout: &Layout) -> Result<()> {
        let (unfinished, password) = (self.folder.join("unfinished"), self.folder.join("password"));
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        write_private(&password, &layout.secrets.postgres)?;
        layout.give(&password)?;
        let mut initdb = layout.command(&self.programs.join("initdb"), &self.folder, LOG)?;
        initdb.arg("-D").arg(&unfinished).arg(format!("--pwfile={}", password.display()));
        initdb.args(["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--username", USER, "--no-instructions"]);
        let status = initdb.status().context("initdb can't be run")?;
        fs::remove_file(&password)?;
        if !status.success() {
            bail!("PostgreSQL's initdb has failed: {}", layout.last_words(LOG));
        }
        fs::rename(&unfinished, self.cluster())?;
        Ok(())
    }

    pub(crate) fn run(&mut self, layout: &Layout) -> Result<()> {
        let mut command = layout.command(&self.programs.join("postgres"), &self.folder, LOG)?;
        command.arg("-D").arg(self.cluster()).args(["-p", &self.port.to_string()]);
        let fixed = [
            ("listen_addresses", "127.0.0.1"),
            ("unix_socket_directories", ""),
            ("fsync", "on"),
            ("synchronous_commit", "on"),
            ("full_page_writes", "on"),
            ("max_connections", "200"),
            ("shared_buffers", "256MB"),
            ("max_wal_size", "2GB"),
        ];
        for (name, value) in fixed.into_iter().chain(self.settings.iter().map(|(n, v)| (n.as_str(), v.as_str()))) {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        let mut child = command.spawn().context("PostgreSQL can't be started")?;
        let is_ready = || {
            let mut ask = Command::new(self.programs.join("pg_isready"));
            ask.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
            ask.stdin(Stdio::null()).status().is_ok_and(|status| status.success())
        };
        let waited = process::until(&mut child, Duration::from_secs(START_SECONDS_MAX), is_ready)?;
        self.child = Some(child);
        match waited {
            Waited::Works => Ok(()),
            Waited::Ended => bail!("PostgreSQL has ended: {}", layout.last_words(LOG)),
            Waited::TooLong => {
                bail!("PostgreSQL did not start in {START_SECONDS_MAX} s: {}", layout.last_words(LOG))
            }
        }
    }

    fn create_database(&self, layout: &Layout) -> Result<()> {
        let mut create = Command::new(self.programs.join("createdb"));
        create.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", USER, DATABASE]);
        create.env("PGPASSWORD", &layout.secrets.postgres).env("LC_ALL", "C").stdin(Stdio::null());
        let output = create.output().context("PostgreSQL's createdb can't be run")?;
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() || said.contains("already exists") {
            Ok(())
        } else {
            bail!("the database can't be created: {}", said.trim())
        }
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().is_ok_and(|status| status.is_some()))
    }

    /// Without a checkpoint, as a crash would.
    pub(crate) fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            process::stop(&mut child, Signal::QUIT, Duration::from_secs(STOP_SECONDS_MAX))?;
        }
        Ok(())
    }

    /// The fast shutdown: transactions under way are rolled back.
    pub(crate) fn stop(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            process::stop(&mut child, Signal::INT, Duration::from_secs(STOP_SECONDS_MAX))?;
        }
        Ok(())
    }
}

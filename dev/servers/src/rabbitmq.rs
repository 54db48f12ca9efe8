//! Private RabbitMQ nodes: on the loopback interface, with a password, with a port mapper (epmd) of their own, so that
//! nothing is shared with another Erlang system on the machine and nothing is left behind.

use std::fs;
use std::io::{Read as _, Seek as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use crate::layout::{Layout, write_private};
use crate::process::{self, Waited, free_port};

const USER: &str = "onhand";
const START_SECONDS_MAX: u64 = 120;
const STOP_SECONDS_MAX: u64 = 30;
const EPMD_SECONDS_MAX: u64 = 5;
/// Generous: it starts an Erlang node of its own, and some commands wait for others.
const CTL_SECONDS_MAX: u64 = 120;
const PROBE_MILLISECONDS_MAX: u64 = 500;

/// Erlang's own listener is not for other machines.
const LOOPBACK: &str = "-kernel inet_dist_use_interface {127,0,0,1}";

struct Node {
    name: String,
    port: u16,
    dist_port: u16,
    child: Option<Child>,
}

pub(crate) struct RabbitMq {
    program: PathBuf,
    folder: PathBuf,
    epmd_port: u16,
    epmd: Child,
    nodes: Vec<Node>,
}

impl RabbitMq {
    /// Ends what an earlier run has left and starts `brokers` nodes; several form a cluster. [`Self::wait`] is to follow.
    pub(crate) fn start(layout: &Layout, program: &Path, brokers: usize) -> Result<Self> {
        let folder = layout.folder("rabbitmq")?.canonicalize()?;
        let names: Vec<String> = (1..=brokers).map(|n| format!("onhand{n}")).collect();
        for name in &names {
            let file = pid_file(&folder, name);
            // A node's command line names it and its folder.
            let mark = folder.display().to_string();
            process::end_leftover(&file, &mark, Signal::TERM, Duration::from_secs(STOP_SECONDS_MAX));
        }
        let limit = Duration::from_secs(EPMD_SECONDS_MAX);
        process::end_leftover(&pid_file(&folder, "epmd"), "epmd", Signal::TERM, limit);
        let epmd_port = free_port()?;
        let mut epmd = layout.command(Path::new("epmd"), &folder, "epmd")?;
        // In the foreground: a child of ours, to be stopped by us.
        let epmd = epmd.args(["-port", &epmd_port.to_string(), "-address", "127.0.0.1"]);
        let epmd = epmd.spawn().context("Erlang's epmd can't be started")?;
        fs::write(pid_file(&folder, "epmd"), epmd.id().to_string())?;
        let cookie = folder.join(".erlang.cookie");
        if !cookie.exists() {
            write_private(&cookie, &layout.secrets.cookie)?;
            layout.give(&cookie)?;
        }
        let mut nodes = Vec::new();
        for name in names {
            nodes.push(Node { name, port: free_port()?, dist_port: free_port()?, child: None });
        }
        let mut rabbitmq = Self { program: program.to_owned(), folder, epmd_port, epmd, nodes };
        for index in 0..rabbitmq.nodes.len() {
            rabbitmq.run(layout, index)?;
        }
        Ok(rabbitmq)
    }

    pub(crate) fn urls(&self, layout: &Layout) -> Vec<String> {
        let url =
            |node: &Node| format!("amqp://{USER}:{}@127.0.0.1:{}/%2f?heartbeat=10", layout.secrets.rabbitmq, node.port);
        self.nodes.iter().map(url).collect()
    }

    /// Waits until every node takes connections.
    pub(crate) fn wait(&mut self, layout: &Layout) -> Result<()> {
        (0..self.nodes.len()).try_for_each(|index| self.wait_for(layout, index))
    }

    pub(crate) fn run(&mut self, layout: &Layout, index: usize) -> Result<()> {
        let name = self.node(index)?.name.clone();
        let folder = self.node_folder(layout, index)?;
        let configuration = folder.join("rabbitmq.conf");
        fs::write(&configuration, self.configuration(layout, index)?)?;
        let plugins = folder.join("enabled_plugins");
        fs::write(&plugins, "[].\n")?;
        for folder in ["mnesia", "log"] {
            layout.folder(&format!("rabbitmq/{name}/{folder}"))?;
        }
        let mut command = self.command(layout, &self.program, index)?;
        let node = self.nodes.get_mut(index).context("no such broker")?;
        command
            .env("RABBITMQ_CONFIG_FILE", &configuration)
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", &plugins)
            .env("RABBITMQ_MNESIA_BASE", folder.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", folder.join("log"))
            .env("RABBITMQ_DIST_PORT", node.dist_port.to_string())
            // Two schedulers per node are plenty on one machine; busy waiting would take what the others need.
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                format!("-start_epmd false {LOOPBACK} +sbwt none +sbwtdcpu none +sbwtdio none"),
            )
            // The script then replaces itself by the node, so the process we started is the node.
            .env("RUNNING_UNDER_SYSTEMD", "1")
            .env_remove("NOTIFY_SOCKET");
        let child = command.spawn().context("RabbitMQ can't be started")?;
        fs::write(pid_file(&self.folder, &name), child.id().to_string())?;
        node.child = Some(child);
        Ok(())
    }

    pub(crate) fn wait_for(&mut self, layout: &Layout, index: usize) -> Result<()> {
        let node = self.nodes.get_mut(index).context("no such broker")?;
        let (port, log) = (node.port, format!("rabbitmq-{}", node.name));
        let child = node.child.as_mut().context("the broker was not started")?;
        match process::until(child, Duration::from_secs(START_SECONDS_MAX), || speaks_amqp(port))? {
            Waited::Works => Ok(()),
            Waited::Ended => bail!("RabbitMQ has ended: {}", layout.last_words(&log)),
            Waited::TooLong => bail!("RabbitMQ did not start in {START_SECONDS_MAX} s: {}", layout.last_words(&log)),
        }
    }

    /// Runs `rabbitmqctl` against a node; answers with what it prints.
    pub(crate) fn ctl(&self, layout: &Layout, index: usize, arguments: &[String]) -> Result<String> {
        // Files, and not pipes: nobody has to read while it is waited for.
        let (output, errors) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let mut command = self.command(layout, &self.program.with_file_name("rabbitmqctl"), index)?;
        command.env("RABBITMQ_CTL_ERL_ARGS", LOOPBACK).arg("--quiet").args(arguments);
        let mut child = command.stdout(output.try_clone()?).stderr(errors.try_clone()?).spawn()?;
        let waited = process::until(&mut child, Duration::from_secs(CTL_SECONDS_MAX), || false)?;
        if waited == Waited::TooLong {
            child.kill()?;
        }
        let (status, name) = (child.wait()?, arguments.join(" "));
        match waited {
            Waited::TooLong => bail!("rabbitmqctl {name} did not end in {CTL_SECONDS_MAX} s"),
            Waited::Works | Waited::Ended if status.success() => whole(output),
            Waited::Works | Waited::Ended => bail!("rabbitmqctl {name} has failed: {}", whole(errors)?.trim()),
        }
    }

    /// A command of a node's own surroundings.
    fn command(&self, layout: &Layout, program: &Path, index: usize) -> Result<Command> {
        let name = &self.node(index)?.name;
        let mut command = layout.command(program, &self.node_folder(layout, index)?, &format!("rabbitmq-{name}"))?;
        command
            // Where the cookie is.
            .env("HOME", &self.folder)
            .env("RABBITMQ_NODENAME", format!("{name}@localhost"))
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1");
        Ok(command)
    }

    fn node_folder(&self, layout: &Layout, index: usize) -> Result<PathBuf> {
        Ok(layout.folder(&format!("rabbitmq/{}", self.node(index)?.name))?.canonicalize()?)
    }

    fn configuration(&self, layout: &Layout, index: usize) -> Result<String> {
        use std::fmt::Write as _;
        let mut text = format!(
            "listeners.tcp.default = 127.0.0.1:{}\n\
             default_user = {USER}\n\
             default_pass = {}\n\
             vm_memory_high_watermark.relative = 0.4\n\
             disk_free_limit.absolute = 512MB\n\
             log.console = true\n\
             log.console.level = info\n\
             log.file = false\n",
            self.node(index)?.port,
            layout.secrets.rabbitmq
        );
        if self.nodes.len() > 1 {
            text.push_str("cluster_formation.peer_discovery_backend = classic_config\n");
            for (n, node) in self.nodes.iter().enumerate() {
                writeln!(text, "cluster_formation.classic_config.nodes.{} = {}@localhost", n + 1, node.name)?;
            }
            text.push_str("cluster_partition_handling = pause_minority\n");
        }
        Ok(text)
    }

    fn node(&self, index: usize) -> Result<&Node> {
        self.nodes.get(index).context("no such broker")
    }

    /// The log of a node that has ended by itself.
    pub(crate) fn has_ended(&mut self) -> Option<String> {
        self.nodes.iter_mut().find_map(|node| {
            let ended = node.child.as_mut()?.try_wait().is_ok_and(|status| status.is_some());
            ended.then(|| format!("rabbitmq-{}", node.name))
        })
    }

    /// As a crash would.
    pub(crate) fn kill(&mut self, index: usize) -> Result<()> {
        let node = self.nodes.get_mut(index).context("no such broker")?;
        if let Some(mut child) = node.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    pub(crate) fn stop(&mut self) -> Result<()> {
        for node in &self.nodes {
            if let Some(child) = &node.child {
                // All at once; each is waited for below.
                rustix::process::kill_process(rustix::process::Pid::from_child(child), Signal::TERM).ok();
            }
        }
        for node in &mut self.nodes {
            if let Some(mut child) = node.child.take() {
                process::stop(&mut child, Signal::TERM, Duration::from_secs(STOP_SECONDS_MAX))?;
            }
        }
        process::stop(&mut self.epmd, Signal::TERM, Duration::from_secs(EPMD_SECONDS_MAX))
    }
}

fn pid_file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.pid"))
}

fn whole(mut file: fs::File) -> Result<String> {
    file.rewind()?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// Sends the protocol header and looks for the first frame of a greeting (AMQP 0-9-1, section 4.2.2).
fn speaks_amqp(port: u16) -> bool {
    let greet = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_millis(PROBE_MILLISECONDS_MAX)))?;
        stream.write_all(b"AMQP\x00\x00\x09\x01")?;
        let mut first = [0; 1];
        stream.read_exact(&mut first)?;
        Ok(first == [1])
    };
    greet().unwrap_or(false)
}

//! The caller's side of a session.

use std::io::{BufReader, Read, Write};
use std::process::{Child, ChildStderr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::SILENCE;
use super::flow::{Flow, Next};
use super::frame::{Frame, Kind, MOST_BYTES};
use super::greeting::{self, Greeting, Hello, Welcome};
use super::link::Link;
use super::messages::{bytes_of, encode, failure};
use super::route::Route;
use super::watch::{unused, watch};
use crate::error::{Error, ErrorKind, Result};
use crate::platform::end_group;

/// How long a program that was started may take to end once it hears nothing more.
const LEAVING: Duration = Duration::from_millis(100);

/// Who has waited for so long for a session that did not come, or that ended in silence, does not wait once more at once.
const LONG: Duration = Duration::from_secs(5);
const FORGIVEN_AFTER: Duration = Duration::from_secs(2);

/// The same of a session in which the other side never said who it is: it is not only the line.
const STRANGE_FORGIVEN_AFTER: Duration = Duration::from_secs(30);

/// A session that nobody uses for so long ends; a resident service asks more often.
const UNUSED_FOR: Duration = Duration::from_secs(300);

/// How much of what a program writes for people is kept: its end.
const MOST_TOLD_BYTES: usize = 4 << 10;

/// What crossed the line, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// To the helper.
    pub sent: u64,
    /// From it.
    pub received: u64,
}

impl Traffic {
    /// Both together.
    #[must_use]
    pub fn with(self, other: Traffic) -> Traffic {
        Traffic { sent: self.sent + other.sent, received: self.received + other.received }
    }
}

/// A session with a helper. Dropped, it ends the program that was started for it.
pub struct Session {
    inner: Arc<Inner>,
}

struct Inner {
    link: Arc<Link>,
    /// The place that is reached, for people.
    place: String,
    child: Mutex<Option<Child>>,
    /// What the program said for people.
    told: Arc<Mutex<Vec<u8>>>,
    own: Greeting,
    welcome: OnceLock<(Welcome, String)>,
    began: Instant,
    /// When it ended after a long wait.
    given_up: OnceLock<Instant>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    /// Starts a program and greets it. Nothing is waited for: what is wrong with the other side is what the first call fails with.
    ///
    /// # Errors
    /// `StoreUnavailable` where the program cannot be started.
    pub fn open(route: &Route, place: &str, hello: &Hello) -> Result<Arc<Self>> {
        let mut child = route.start().map_err(|error| error.at("place", place))?;
        let pipes = (child.stdout.take(), child.stdin.take(), child.stderr.take());
        let (Some(from), Some(to), Some(told)) = pipes else {
            return Err(cut(place, "It has no pipes."));
        };
        Session::begin(Box::new(from), Box::new(to), Some((child, told)), place, hello, (SILENCE, UNUSED_FOR))
    }

    /// Begins a session over streams that are there; it ends where nothing is heard for so long.
    ///
    /// # Errors
    /// `Io` where no threads can be started.
    pub fn over(
        from: impl Read + Send + 'static,
        to: impl Write + Send + 'static,
        place: &str,
        hello: &Hello,
        silence: Duration,
    ) -> Result<Arc<Self>> {
        Session::begin(Box::new(from), Box::new(to), None, place, hello, (silence, UNUSED_FOR))
    }

    /// As [`Session::over`], for a session that lives as long as what it is in: nobody could begin it anew.
    ///
    /// # Errors
    /// As there.
    pub(super) fn within(
        from: impl Read + Send + 'static,
        to: impl Write + Send + 'static,
        place: &str,
        hello: &Hello,
    ) -> Result<Arc<Self>> {
        Session::begin(Box::new(from), Box::new(to), None, place, hello, (SILENCE, Duration::MAX))
    }

    /// As [`Session::over`]; one that nobody uses for so long ends.
    pub(super) fn begin(
        from: Box<dyn Read + Send>,
        to: Box<dyn Write + Send>,
        program: Option<(Child, ChildStderr)>,
        place: &str,
        hello: &Hello,
        (silence, unused_for): (Duration, Duration),
    ) -> Result<Arc<Self>> {
        let (child, told) = program.unzip();
        let link = Link::new(to);
        let inner = Arc::new(Inner {
            link: Arc::clone(&link),
            place: place.to_owned(),
            child: Mutex::new(child),
            told: Arc::default(),
            own: Greeting::own(),
            welcome: OnceLock::new(),
            began: Instant::now(),
            given_up: OnceLock::new(),
        });
        let session = Arc::new(Session { inner: Arc::clone(&inner) });
        let failed = |cause| Error::io("start a thread for", std::path::Path::new(place), &cause);
        if let Some(told) = told {
            let kept = Arc::clone(&inner.told);
            spawn("csb-wire-told", move || keep_end(told, &kept)).map_err(failed)?;
        }
        let silent = Arc::downgrade(&inner);
        let on_silence = move || {
            if let Some(inner) = silent.upgrade() {
                inner.given_up.get_or_init(Instant::now);
                let seconds = silence.as_secs_f32();
                inner.over(cut(&inner.place, &format!("Nothing was heard for {seconds} seconds.")));
                inner.end_program(Duration::ZERO);
            }
        };
        watch(&link, silence, Some(unused_for), on_silence).map_err(failed)?;
        let hello = encode(hello)?;
        // Where this fails the reader finds out why.
        let greeted = link.send_bytes(inner.own.line().as_bytes());
        let _ = greeted.and_then(|()| link.send(Kind::Hello, 0, &hello));
        spawn("csb-wire-read", move || inner.read(BufReader::new(from))).map_err(failed)?;
        Ok(session)
    }

    /// Calls: a message by its number, and its request. Nothing is waited for.
    ///
    /// # Errors
    /// Why the session is over; `InvalidArgument` for a request that is too long for a frame.
    pub fn call(&self, message: u8, request: &impl Serialize, cancel: &CancellationToken) -> Result<Call> {
        self.call_encoded(message, &encode(request)?, cancel)
    }

    /// As [`Session::call`], with a request that was encoded already.
    ///
    /// # Errors
    /// As there.
    pub fn call_encoded(&self, message: u8, request: &[u8], cancel: &CancellationToken) -> Result<Call> {
        let mut content = vec![message];
        content.extend_from_slice(request);
        if content.len() > MOST_BYTES {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "A request is too long to be sent to another machine.",
                "Ask for less at once.",
            ));
        }
        let inner = Arc::clone(&self.inner);
        let (id, flow) = inner.link.calls.open(cancel)?;
        inner.link.is_used();
        let call = Call { inner, id, flow, answer: None };
        call.tell(Kind::Call, &content)?;
        Ok(call)
    }

    /// What the helper said of itself, and the version of its program; none before anything was heard.
    pub fn welcome(&self) -> Option<&(Welcome, String)> {
        self.inner.welcome.get()
    }

    /// Whether calls may still be made.
    pub fn is_open(&self) -> bool {
        self.inner.link.calls.over().is_none()
    }

    /// Whether it has ended because nobody used it.
    pub fn was_unused(&self) -> bool {
        self.inner.link.calls.over() == Some(unused())
    }

    /// Why it ended, where that was waited for a short while ago: another session would hardly come sooner, and whoever asks has more questions.
    pub fn given_up(&self) -> Option<Error> {
        let given_up = self.inner.given_up.get()?;
        let is_known = self.inner.welcome.get().is_some();
        let forgiven_after = if is_known { FORGIVEN_AFTER } else { STRANGE_FORGIVEN_AFTER };
        if given_up.elapsed() < forgiven_after { self.inner.link.calls.over() } else { None }
    }

    /// How many calls have not ended.
    pub fn calls(&self) -> usize {
        self.inner.link.calls.count()
    }

    /// What crossed the line so far.
    pub fn traffic(&self) -> Traffic {
        let (sent, received) = self.inner.link.traffic();
        Traffic { sent, received }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.inner.over(Error::cancelled());
        self.inner.end_program(LEAVING);
    }
}

pub(super) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

/// Keeps the end of what a program writes for people.
fn keep_end(mut told: ChildStderr, kept: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = told.read(&mut buffer) {
        let mut kept = lock(kept);
        kept.extend_from_slice(buffer.get(..read).unwrap_or_default());
        let superfluous = kept.len().saturating_sub(MOST_TOLD_BYTES);
        kept.drain(..superfluous);
    }
}

impl Inner {
    /// Nothing more is said or heard.
    fn over(&self, because: Error) {
        self.link.calls.end_all(because);
        self.link.close();
    }

    /// Ends the program, at once or once it had so long to end by itself.
    fn end_program(&self, patience: Duration) {
        let Some(mut child) = lock(&self.child).take() else { return };
        let began = Instant::now();
        while began.elapsed() < patience {
            if matches!(child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        end_group(&mut child);
        let _ = child.wait();
    }

    /// Hears what the helper says, until the end.
    fn read(&self, mut from: impl Read) {
        let ended = match self.hear(&mut from) {
            Ok(()) => self.why("The connection ended.", None),
            Err(error) => error,
        };
        if self.welcome.get().is_none() && self.began.elapsed() >= LONG {
            self.given_up.get_or_init(Instant::now);
        }
        self.over(ended);
        self.end_program(LEAVING);
    }

    fn hear(&self, from: &mut impl Read) -> Result<()> {
        let mut hearing = self.link.hears(from);
        let Some(theirs) = greeting::read(&mut hearing).map_err(|error| error.at("place", &self.place))?
        else {
            return Ok(());
        };
        self.own.agree(&theirs).map_err(|error| error.at("place", &self.place))?;
        loop {
            let frame = match hearing.frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(()),
                Err(cause) => return Err(self.why("The connection was cut.", Some(&cause))),
            };
            self.take(frame, &theirs.program)?;
        }
    }

    fn take(&self, frame: Frame, program: &str) -> Result<()> {
        let Frame { kind, call, content } = frame;
        let flow = self.link.calls.find(call);
        match (kind, flow) {
            (Kind::Welcome, _) => {
                let welcome = postcard::from_bytes(&content).map_err(|_| self.not_understood())?;
                self.welcome.get_or_init(|| (welcome, program.to_owned()));
            }
            (Kind::Failed, _) if call == 0 => return Err(self.failure(&content)),
            (Kind::Part, Some(flow)) => {
                flow.file(content).then_some(()).ok_or_else(|| self.not_understood())?
            }
            (Kind::Answer, Some(flow)) => flow.end(Ok(content)),
            (Kind::Failed, Some(flow)) => flow.end(Err(self.failure(&content))),
            (Kind::Credit, Some(flow)) => flow.grant(bytes_of(&content)),
            // Calls that nobody waits for any more, and pings.
            _ => {}
        }
        Ok(())
    }

    fn tell(&self, kind: Kind, call: u32, content: &[u8]) -> Result<()> {
        self.link.send(kind, call, content).map_err(|cause| self.not_told(&cause))
    }

    /// Why nothing can be sent: whoever reads knows, or will in a moment, as what cannot be written to may still be read from.
    fn not_told(&self, cause: &std::io::Error) -> Error {
        let began = Instant::now();
        while self.link.calls.over().is_none() && began.elapsed() < LEAVING * 5 {
            std::thread::sleep(Duration::from_millis(2));
        }
        let over = self.link.calls.over();
        over.unwrap_or_else(|| cut(&self.place, "The connection was cut.").caused_by(cause))
    }

    fn not_understood(&self) -> Error {
        Error::new(
            ErrorKind::PeerIncompatible,
            format!("What {} says is not understood.", self.place),
            "Install the same release of CsBackup on both machines.",
        )
        .at("place", &self.place)
    }

    /// The error document of the other side.
    fn failure(&self, document: &[u8]) -> Error {
        failure(document).unwrap_or_else(|| self.not_understood()).at("place", &self.place)
    }

    /// Why a connection ended, as far as the program that was started for it says so.
    fn why(&self, what: &str, cause: Option<&std::io::Error>) -> Error {
        // It says so just before it ends.
        if let Some(child) = lock(&self.child).as_mut() {
            let began = Instant::now();
            while began.elapsed() < LEAVING * 5 && !matches!(child.try_wait(), Ok(Some(_))) {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        // Whoever reads what it says has a share in it until it has read the end, which may be a moment after the program's.
        let ended = Instant::now();
        while Arc::strong_count(&self.told) > 1 && ended.elapsed() < LEAVING {
            std::thread::sleep(Duration::from_millis(2));
        }
        let told = String::from_utf8_lossy(&lock(&self.told)).trim().to_owned();
        let error = refused(&self.place, &told).unwrap_or_else(|| cut(&self.place, what));
        let error = match cause {
            Some(cause) => error.caused_by(cause),
            None => error,
        };
        match told.lines().rfind(|line| !line.trim().is_empty()) {
            Some(line) => error.caused_by(&std::io::Error::other(line.trim().to_owned())),
            None => error,
        }
    }
}

fn cut(place: &str, what: &str) -> Error {
    Error::new(
        ErrorKind::StoreUnavailable,
        format!("{place} cannot be reached. {what}"),
        "See the cause. Look whether the other machine is up and ssh leads there, with Test-CsPoolConnection; the next job goes on where this one stopped.",
    )
    .at("place", place)
}

/// What ssh says where trying again does not help. Its messages have not changed for twenty years, and it ends with the same number for all
/// of them.
fn refused(place: &str, told: &str) -> Option<Error> {
    let has = |text: &str| told.contains(text);
    let (kind, what, advice) = if has("REMOTE HOST IDENTIFICATION HAS CHANGED")
        || has("Host key verification failed")
    {
        (
            ErrorKind::PeerRefused,
            "Its host key is not known, or is another one than before.",
            take_host_key(place),
        )
    } else if has("Permission denied") {
        (
            ErrorKind::PeerRefused,
            "It does not accept this account's key.",
            "Register-CsPoolPlace there prints the line for authorized_keys; the key must be usable without a passphrase, or be in the agent."
                .to_owned(),
        )
    } else if has("command not found") || has("csb-serve: not found") || has("No such file or directory") {
        (
            ErrorKind::PeerIncompatible,
            "There is no csb-serve.",
            "Install CsBackup there, and name csb-serve with its whole path in the forced command."
                .to_owned(),
        )
    } else {
        return None;
    };
    Some(Error::new(kind, format!("{place} cannot be reached. {what}"), advice).at("place", place))
}

/// How the host key of a place is taken over, as ssh names the host and its port.
fn take_host_key(place: &str) -> String {
    let authority = place.split_once("://").map_or(place, |(_, rest)| rest);
    let authority = authority.split_once('/').map_or(authority, |(authority, _)| authority);
    let address = authority.rsplit_once('@').map_or(authority, |(_, address)| address);
    let port = address.rsplit_once(':').filter(|(host, port)| {
        !port.is_empty()
            && port.chars().all(|digit| digit.is_ascii_digit())
            && (host.ends_with(']') || !host.contains(':'))
    });
    let plain = |host: &str| host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let (known, scanned) = match port {
        Some((host, port)) => {
            let host = plain(host);
            (format!("'[{host}]:{port}'"), format!("-p {port} {host}"))
        }
        None => (plain(address), plain(address)),
    };
    format!(
        "Compare its fingerprint with the one that its administrator reads there (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub). Then, as the account of the backup service: ssh-keygen -R {known}; ssh-keyscan -t ed25519 {scanned} >> ~/.ssh/known_hosts."
    )
}

/// A call that was made. Dropped before it has ended, it is cancelled at the other side.
pub struct Call {
    inner: Arc<Inner>,
    id: u32,
    flow: Arc<Flow>,
    answer: Option<Vec<u8>>,
}

/// Sends parts of a call, for a thread beside the one that takes what comes.
#[derive(Clone)]
pub struct PartSender {
    inner: Arc<Inner>,
    id: u32,
    flow: Arc<Flow>,
}

impl PartSender {
    /// As [`Call::send`].
    ///
    /// # Errors
    /// As there.
    pub fn send(&self, part: &[u8]) -> Result<()> {
        self.flow.spend(part)?;
        self.inner.tell(Kind::Part, self.id, part)
    }

    /// As [`Call::end_parts`].
    ///
    /// # Errors
    /// As there.
    pub fn end_parts(&self) -> Result<()> {
        self.inner.tell(Kind::PartsEnd, self.id, &[])
    }
}

impl Call {
    fn tell(&self, kind: Kind, content: &[u8]) -> Result<()> {
        self.inner.tell(kind, self.id, content)
    }

    /// Sends parts from another thread.
    pub fn sender(&self) -> PartSender {
        PartSender { inner: Arc::clone(&self.inner), id: self.id, flow: Arc::clone(&self.flow) }
    }

    /// The next part; none once the call has ended.
    ///
    /// # Errors
    /// That of the helper; `StoreUnavailable` where the connection was cut; cancelled.
    #[expect(clippy::should_implement_trait, reason = "it fails, and owns nothing that is borrowed")]
    pub fn next(&mut self) -> Result<Option<Vec<u8>>> {
        if self.answer.is_some() {
            return Ok(None);
        }
        match self.flow.take()? {
            Next::Part(part, granted) => {
                self.inner.link.grant(self.id, granted).map_err(|cause| self.inner.not_told(&cause))?;
                Ok(Some(part))
            }
            Next::Ended(answer) => {
                self.answer = Some(answer);
                Ok(None)
            }
            Next::NoMore => Ok(None),
        }
    }

    /// The next part that came before a call failed and that nobody has taken.
    pub fn left(&mut self) -> Option<Vec<u8>> {
        self.flow.left()
    }

    /// Sends a part to the helper, which waits until it may.
    ///
    /// # Errors
    /// As for [`Call::next`]; `InvalidArgument` for one that is longer than [`MOST_BYTES`].
    pub fn send(&mut self, part: &[u8]) -> Result<()> {
        self.sender().send(part)
    }

    /// Says that there are no more parts.
    ///
    /// # Errors
    /// As for [`Call::next`].
    pub fn end_parts(&mut self) -> Result<()> {
        self.sender().end_parts()
    }

    /// Waits for the answer, which ends the call; parts that nobody took are passed over.
    ///
    /// # Errors
    /// As for [`Call::next`]; `PeerIncompatible` for an answer that is not understood.
    pub fn answer<T: DeserializeOwned>(&mut self) -> Result<T> {
        let answer = self.encoded_answer()?;
        postcard::from_bytes(&answer).map_err(|_| self.inner.not_understood())
    }

    /// As [`Call::answer`], without reading it.
    ///
    /// # Errors
    /// As for [`Call::next`].
    pub fn encoded_answer(&mut self) -> Result<Vec<u8>> {
        while self.next()?.is_some() {}
        Ok(self.answer.clone().unwrap_or_default())
    }

    /// Reads a part.
    ///
    /// # Errors
    /// `PeerIncompatible` for one that is not understood.
    pub fn decode<T: DeserializeOwned>(&self, part: &[u8]) -> Result<T> {
        postcard::from_bytes(part).map_err(|_| self.inner.not_understood())
    }

    /// The error of a helper that says what cannot be.
    pub fn not_understood(&self) -> Error {
        self.inner.not_understood()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.inner.link.calls.forget(self.id);
        self.inner.link.is_used();
        if self.answer.is_none() && !self.inner.link.is_closed() {
            self.inner.link.cancel_soon(self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_for_a_host_key_can_be_pasted() {
        for (place, removed, scanned) in [
            ("ssh://csb@atl-1/srv", "-R atl-1;", "ed25519 atl-1 >>"),
            ("ssh://atl-1:2222/srv", "-R '[atl-1]:2222';", "-p 2222 atl-1 >>"),
            ("ssh://csb@[2001:db8::7]/srv", "-R 2001:db8::7;", "ed25519 2001:db8::7 >>"),
            ("ssh://csb@[2001:db8::7]:22/srv", "-R '[2001:db8::7]:22';", "-p 22 2001:db8::7 >>"),
        ] {
            let error = refused(place, "Host key verification failed.").unwrap();
            assert!(
                error.advice.contains(removed) && error.advice.contains(scanned),
                "{place}: {}",
                error.advice
            );
        }
    }
}

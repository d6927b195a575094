//! A disk that loses what was not synced: plays the calls of a program, as `tests/faults/inject.c` records them, and says what lies there
//! where the power goes between two of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What is written and lost at once.
const SECTOR_BYTES: u64 = 512;

/// A call that changes something or makes a change last, with paths below the folder that is looked at.
#[derive(Clone, Debug)]
pub enum Call {
    Create(PathBuf),
    Write(PathBuf, u64, Vec<u8>),
    Resize(PathBuf, u64),
    Sync(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    Folder(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Folder,
    File(usize),
}

/// A change of a folder that is not synced.
#[derive(Clone, Debug)]
enum Change {
    Put(PathBuf, Node),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, Node),
}

/// A change of a file that is not synced.
#[derive(Clone, Debug)]
enum Piece {
    Write(u64, Vec<u8>),
    Resize(u64),
}

#[derive(Clone, Debug, Default)]
struct File {
    synced: Vec<u8>,
    pieces: Vec<Piece>,
}

/// Which changes of files reached the disk although nobody waited for them.
#[derive(Clone, Copy, Debug)]
pub enum Data {
    None,
    All,
    Last,
    EveryOther(usize),
    /// All, but of the last one every other sector only.
    Torn(u64),
    /// All but one sector of each file, by chance.
    Hole(u64),
    /// Sectors by chance.
    Chance(u64),
    /// All of one file and nothing of the others.
    OnlyOf(usize),
}

/// Which changes of folders did.
#[derive(Clone, Copy, Debug)]
pub enum Names {
    /// So many, in the order in which they were made, as a journaled file system has it.
    First(usize),
    /// One without those before it.
    Only(usize),
    /// All but one.
    AllBut(usize),
}

/// What lies on the disk after a cut: folders, and files with their content.
pub type Image = BTreeMap<PathBuf, Option<Vec<u8>>>;

#[derive(Clone, Debug, Default)]
pub struct Disk {
    files: Vec<File>,
    now: BTreeMap<PathBuf, Node>,
    synced: BTreeMap<PathBuf, Node>,
    changes: Vec<Change>,
}

/// The calls of a record, with paths below this folder.
pub fn calls(record: &[u8], folder: &Path) -> Vec<Call> {
    let mut rest = record;
    let mut found = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = std::str::from_utf8(&rest[..end]).unwrap();
        let parts: Vec<&str> = line.split('\t').collect();
        let number = |part: usize| parts[part].parse::<u64>().unwrap();
        let path =
            |part: usize| Path::new(parts[part]).strip_prefix(folder).map(Path::to_owned).unwrap_or_default();
        let bytes = usize::try_from(number(2)).unwrap();
        let content = rest[end + 1..end + 1 + bytes].to_vec();
        rest = &rest[end + 1 + bytes + 1..];
        const CREATE: u64 = 0o100;
        const TRUNCATE: u64 = 0o1000;
        match parts[0] {
            "open" => {
                if number(3) & CREATE != 0 {
                    found.push(Call::Create(path(4)));
                }
                if number(3) & TRUNCATE != 0 {
                    found.push(Call::Resize(path(4), 0));
                }
            }
            "write" => found.push(Call::Write(path(4), number(1), content)),
            "truncate" => found.push(Call::Resize(path(4), number(1))),
            "sync" => found.push(Call::Sync(path(4))),
            "rename" => found.push(Call::Rename(path(4), path(5))),
            "unlink" => found.push(Call::Remove(path(4))),
            "mkdir" => found.push(Call::Folder(path(4))),
            _ => {}
        }
    }
    found
}

impl File {
    /// How far it goes with everything that is not synced.
    fn size(&self) -> u64 {
        let end = |piece: &Piece| match piece {
            Piece::Write(at, bytes) => *at + bytes.len() as u64,
            Piece::Resize(size) => *size,
        };
        self.pieces.iter().map(end).max().unwrap_or_default().max(self.synced.len() as u64)
    }
}

impl Change {
    fn folders(&self) -> Vec<&Path> {
        match self {
            Change::Put(path, _) | Change::Remove(path) => path.parent().into_iter().collect(),
            Change::Rename(_, to, _) => to.parent().into_iter().collect(),
        }
    }

    fn play(&self, entries: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Change::Put(path, node) => drop(entries.insert(path.clone(), *node)),
            Change::Remove(path) => drop(entries.remove(path)),
            Change::Rename(from, to, node) => {
                entries.remove(from);
                entries.insert(to.clone(), *node);
            }
        }
    }
}

impl Piece {
    fn play(&self, content: &mut Vec<u8>, sector_stays: impl Fn(u64) -> bool) {
        match self {
            Piece::Resize(size) => content.resize(usize::try_from(*size).unwrap(), 0),
            Piece::Write(at, bytes) => {
                for (place, byte) in (*at..).zip(bytes) {
                    if sector_stays(place / SECTOR_BYTES) {
                        let place = usize::try_from(place).unwrap();
                        content.resize(content.len().max(place + 1), 0);
                        content[place] = *byte;
                    }
                }
            }
        }
    }
}

impl Disk {
    /// A disk that holds what lies in a folder, all of it synced.
    pub fn holding(folder: &Path) -> Self {
        let mut disk = Disk::default();
        for path in crate::support::tree(folder).into_keys() {
            let node = match std::fs::read(folder.join(&path)) {
                Ok(synced) => {
                    disk.files.push(File { synced, pieces: Vec::new() });
                    Node::File(disk.files.len() - 1)
                }
                Err(_) => Node::Folder,
            };
            disk.synced.insert(path, node);
        }
        disk.now = disk.synced.clone();
        disk
    }

    fn file(&mut self, path: &Path) -> Option<&mut File> {
        match self.now.get(path) {
            Some(Node::File(number)) => self.files.get_mut(*number),
            _ => None,
        }
    }

    fn change(&mut self, change: Change) {
        change.play(&mut self.now);
        self.changes.push(change);
    }

    /// Makes a call. One that failed, because of what was there or was not, changes nothing.
    pub fn play(&mut self, call: &Call) {
        match call {
            Call::Create(path) if !self.now.contains_key(path) => {
                self.files.push(File::default());
                self.change(Change::Put(path.clone(), Node::File(self.files.len() - 1)));
            }
            Call::Folder(path) if !self.now.contains_key(path) => {
                self.change(Change::Put(path.clone(), Node::Folder));
            }
            Call::Create(_) | Call::Folder(_) => {}
            Call::Write(path, at, bytes) => {
                if let Some(file) = self.file(path) {
                    file.pieces.push(Piece::Write(*at, bytes.clone()));
                }
            }
            Call::Resize(path, size) => {
                if let Some(file) = self.file(path) {
                    file.pieces.push(Piece::Resize(*size));
                }
            }
            Call::Sync(path) => match self.file(path) {
                Some(file) => {
                    for piece in std::mem::take(&mut file.pieces) {
                        piece.play(&mut file.synced, |_| true);
                    }
                }
                None => self.sync_folder(path),
            },
            Call::Rename(from, to) => {
                if let Some(node) = self.now.get(from) {
                    self.change(Change::Rename(from.clone(), to.clone(), *node));
                }
            }
            Call::Remove(path) => {
                if self.now.contains_key(path) {
                    self.change(Change::Remove(path.clone()));
                }
            }
        }
    }

    fn sync_folder(&mut self, folder: &Path) {
        let (synced, kept): (Vec<Change>, Vec<Change>) = std::mem::take(&mut self.changes)
            .into_iter()
            .partition(|change| change.folders().contains(&folder));
        self.changes = kept;
        for change in synced {
            change.play(&mut self.synced);
            if let Change::Rename(from, ..) = &change {
                // Under its first name nobody finds it again.
                self.changes.retain(|earlier| !matches!(earlier, Change::Put(path, _) if path == from));
            }
        }
    }

    /// Every way in which the power may go now.
    pub fn cuts(&self, chance: u64) -> Vec<(Data, Names)> {
        let mut data = vec![Data::None, Data::All];
        if self.files.iter().any(|file| !file.pieces.is_empty()) {
            data.extend([Data::Last, Data::EveryOther(0), Data::EveryOther(1), Data::Torn(0), Data::Torn(1)]);
            data.extend([Data::Chance(chance), Data::Chance(chance ^ 0x5555)]);
            data.extend((0..4).map(|more| Data::Hole(chance ^ more)));
            let changed = |number: &usize| !self.files[*number].pieces.is_empty();
            data.extend((0..self.files.len()).filter(changed).map(Data::OnlyOf));
        }
        let changes = self.changes.len();
        let mut names: Vec<Names> = (0..=changes).map(Names::First).collect();
        if changes > 1 {
            names.extend((1..changes).map(Names::Only));
            names.extend((0..changes - 1).map(Names::AllBut));
        }
        data.iter().flat_map(|data| names.iter().map(|names| (*data, *names))).collect()
    }

    /// What lies there after a cut.
    pub fn after(&self, data: Data, names: Names) -> Image {
        let mut entries = self.synced.clone();
        for (number, change) in self.changes.iter().enumerate() {
            let is_there = match names {
                Names::First(first) => number < first,
                Names::Only(only) => number == only,
                Names::AllBut(but) => number != but,
            };
            if is_there {
                change.play(&mut entries);
            }
        }
        let is_reached = |path: &Path| {
            path.ancestors()
                .skip(1)
                .all(|folder| folder == Path::new("") || entries.get(folder) == Some(&Node::Folder))
        };
        let found = entries.iter().filter(|(path, _)| is_reached(path));
        found
            .map(|(path, node)| match node {
                Node::Folder => (path.clone(), None),
                Node::File(number) => (path.clone(), Some(self.content(*number, data))),
            })
            .collect()
    }

    fn content(&self, number: usize, data: Data) -> Vec<u8> {
        let file = &self.files[number];
        let mut content = file.synced.clone();
        let last = file.pieces.len().saturating_sub(1);
        for (place, piece) in file.pieces.iter().enumerate() {
            let (is_there, stays): (bool, Box<dyn Fn(u64) -> bool>) = match data {
                Data::None => (false, Box::new(|_| false)),
                Data::All => (true, Box::new(|_| true)),
                Data::Last => (place == last, Box::new(|_| true)),
                Data::EveryOther(odd) => (place % 2 == odd, Box::new(|_| true)),
                Data::Torn(odd) => (true, Box::new(move |sector| place < last || sector % 2 == odd)),
                Data::Chance(seed) => {
                    let at = move |sector: u64| {
                        fastrand::Rng::with_seed(seed ^ (sector << 20) ^ place as u64).bool()
                    };
                    (at(u64::MAX >> 21), Box::new(at))
                }
                Data::Hole(seed) => {
                    let sectors = file.size() / SECTOR_BYTES;
                    let hole = fastrand::Rng::with_seed(seed).u64(0..=sectors);
                    (true, Box::new(move |sector| sector != hole))
                }
                Data::OnlyOf(only) => (number == only, Box::new(|_| true)),
            };
            if is_there {
                piece.play(&mut content, stays);
            }
        }
        content
    }
}

/// Lays an image out in a folder.
pub fn lay_out(image: &Image, folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    for (path, content) in image {
        match content {
            None => std::fs::create_dir_all(folder.join(path)).unwrap(),
            Some(content) => std::fs::write(folder.join(path), content).unwrap(),
        }
    }
}

/// One number for an image.
pub fn number_of(image: &Image) -> u128 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    for (path, content) in image {
        hasher.update(path.as_os_str().as_encoded_bytes());
        hasher.update(&[0, u8::from(content.is_some())]);
        let content = content.as_deref().unwrap_or_default();
        hasher.update(&content.len().to_le_bytes());
        hasher.update(content);
    }
    hasher.digest128()
}

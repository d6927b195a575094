//! What others wrote into a store where this product writes: moved out of the content's way, and kept.

use rustix::io::Errno;

use super::handles::rename_new;
use super::{ContentPath, ContentStore, FolderStore, OWN_FOLDER, ObjectResult, writing};

/// The folder within [`OWN_FOLDER`] for what was set aside.
pub(super) const ASIDE_FOLDER: &[u8] = b"conflicts";

/// How many objects of one name can be set aside on one occasion.
const SAME_NAMES: u32 = 100;

impl FolderStore {
    /// Moves an object to `.csb/conflicts/<occasion>/<path>`, durably; returns where it is now.
    pub(super) fn move_aside(&self, path: &ContentPath, occasion: &str) -> ObjectResult<ContentPath> {
        let failed = |cause| writing(self, path, cause);
        let (folder, folder_path, name) = self.place(path).map_err(failed)?;
        for number in 1..=SAME_NAMES {
            let aside = aside(path, occasion, number).ok_or(Errno::INVAL).map_err(failed)?;
            let moved = self.place_made(&aside).and_then(|(to, to_path, _)| {
                rename_new(&folder, name, &to, name)?;
                Ok(to_path)
            });
            match moved {
                Ok(to_path) => {
                    self.handles.forget();
                    self.touch(folder_path);
                    self.touch(to_path);
                    self.flush()?;
                    return Ok(aside);
                }
                // Something was set aside on this occasion under this name, or under that of a folder above.
                Err(Errno::EXIST | Errno::NOTDIR) => self.handles.forget(),
                Err(cause) => return Err(failed(cause)),
            }
        }
        Err(failed(Errno::EXIST))
    }
}

/// Whether a name is that of an occasion: a moment, and a number where there were several.
pub(super) fn is_occasion(name: &[u8]) -> bool {
    let Some((moment, rest)) = name.split_at_checked(18) else { return false };
    let pattern = b"0000-00-00T000000Z";
    let is_like = |(byte, like): (&u8, &u8)| if *like == b'0' { byte.is_ascii_digit() } else { byte == like };
    moment.iter().zip(pattern).all(is_like) && (rest.is_empty() || rest.starts_with(b"-"))
}

/// Where an object is moved to: the first of one name, or a later one.
fn aside(path: &ContentPath, occasion: &str, number: u32) -> Option<ContentPath> {
    let occasion = if number == 1 { occasion.to_owned() } else { format!("{occasion}-{number}") };
    let above = ContentPath::root().join(OWN_FOLDER)?.join(ASIDE_FOLDER)?.join(occasion.as_bytes())?;
    path.names().try_fold(above, |folder, name| folder.join(name))
}

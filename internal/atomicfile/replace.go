package atomicfile

import (
	"os"
	"path/filepath"
)

// Replace flushes the closed file written at temporary to disk and gives it the name path, in the same directory,
// replacing what has that name. For those who name their temporaries themselves and know which of them are stale.
//
// Errors: the operating system's; temporary is left as it is then.
func Replace(temporary, path string) error {
	err := syncFile(temporary)
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	return wrap(path, err)
}

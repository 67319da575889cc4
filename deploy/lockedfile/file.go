// Package lockedfile replaces files that people and other programs write as well:
// as a whole, all or nothing, and never over what somebody else wrote meanwhile.
package lockedfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
)

// private is the most that may be allowed on a file that holds a password.
const private fs.FileMode = 0o600

// File is a file that is read once and replaced as a whole. While it is open
// it is locked (flock) against other processes that use this package. Editors
// take no locks: Replace notices what they did.
type File struct {
	path   string // as the caller named it
	target string // where the content is, when path is a symbolic link
	info   fs.FileInfo
	read   []byte // the content, as last seen or written
	lock   *flock.Flock
}

// Error is a file that cannot be read or replaced. It never holds anything of the
// file's content.
type Error struct {
	Path    string // as the caller named it
	Problem string // what is wrong
	Fix     string // what to do about it; may be empty
	Err     error  // of the file system, such as fs.ErrNotExist; may be nil
}

// Error returns "path: problem; fix".
func (e *Error) Error() string {
	text := e.Path + ": " + e.Problem
	if e.Fix != "" {
		text += "; " + e.Fix
	}
	return text
}

// Unwrap returns what the file system said.
func (e *Error) Unwrap() error { return e.Err }

// Open locks and reads a file. It follows a symbolic link. Errors are *Error.
func Open(path string) (*File, error) {
	f := &File{path: path}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, f.problem(err)
	}
	f.target = target
	if f.info, err = os.Stat(target); err != nil {
		return nil, f.problem(err)
	}
	if !f.info.Mode().IsRegular() {
		return nil, &Error{Path: path, Problem: "is not a regular file"}
	}
	if err := f.take(target); err != nil {
		return nil, err
	}
	if f.read, err = os.ReadFile(target); err != nil {
		return nil, errors.Join(f.problem(err), f.Close())
	}
	return f, nil
}

// Bytes returns the content as it was read or last written.
func (f *File) Bytes() []byte { return f.read }

// Close gives the lock back.
func (f *File) Close() error { return f.lock.Close() }

// Replace makes content the content of the file, all or nothing: it writes a
// new file in the same folder, syncs it, and renames it over the old one. Mode
// and, where the system lets us, owner stay. With secret set, the permissions
// of group and others are taken away; none is ever added. It fails with an
// *Error, and leaves the file alone, when somebody changed it since it was
// read.
func (f *File) Replace(content []byte, secret bool) error {
	mode := f.info.Mode().Perm()
	if secret {
		mode &= private
	}
	if bytes.Equal(content, f.read) && mode == f.info.Mode().Perm() {
		return f.unchanged()
	}
	temp, err := f.writeTemp(content, mode)
	if err != nil {
		return f.problem(err)
	}
	if err := f.swap(temp, content); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return f.problem(syncFolder(filepath.Dir(f.target)))
}

// Replaceable tells whether Replace could write, without changing the file: it makes a
// new file in the same folder and removes it. Its error is an *Error.
func (f *File) Replaceable() error {
	temp, err := os.CreateTemp(filepath.Dir(f.target), "."+filepath.Base(f.target)+".*")
	if err != nil {
		return f.problem(err)
	}
	return f.problem(errors.Join(temp.Close(), os.Remove(temp.Name())))
}

func (f *File) writeTemp(content []byte, mode fs.FileMode) (string, error) {
	temp, err := os.CreateTemp(filepath.Dir(f.target), "."+filepath.Base(f.target)+".*")
	if err != nil {
		return "", err
	}
	_, err = temp.Write(content)
	if err == nil {
		err = keepOwner(temp, f.info)
	}
	if err == nil {
		err = temp.Chmod(mode)
	}
	if err == nil {
		err = temp.Sync()
	}
	if err = errors.Join(err, temp.Close()); err != nil {
		return "", errors.Join(err, os.Remove(temp.Name()))
	}
	return temp.Name(), nil
}

// swap renames temp over the target. The new file is locked before it gets
// its name, so the lock has no gap.
func (f *File) swap(temp string, content []byte) error {
	old := f.lock
	if err := f.take(temp); err != nil {
		return err
	}
	fresh := f.lock
	err := f.unchanged()
	if err == nil {
		err = f.problem(os.Rename(temp, f.target))
	}
	if err != nil {
		f.lock = old
		return errors.Join(err, fresh.Close())
	}
	f.read = content
	f.info, err = os.Stat(f.target)
	return errors.Join(f.problem(err), old.Close())
}

// unchanged checks that the file is still what was read.
func (f *File) unchanged() error {
	target, err := filepath.EvalSymlinks(f.path)
	if err != nil {
		return f.problem(err)
	}
	now, err := os.ReadFile(f.target)
	if err != nil {
		return f.problem(err)
	}
	if target != f.target || !bytes.Equal(now, f.read) {
		return &Error{Path: f.path, Problem: "was changed by somebody else meanwhile and was left as it is", Fix: "run the command again"}
	}
	return nil
}

func (f *File) take(name string) error {
	f.lock = flock.New(name, flock.SetFlag(os.O_RDONLY))
	ok, err := f.lock.TryLock()
	if err != nil {
		return f.problem(err)
	}
	if !ok {
		return &Error{Path: f.path, Problem: "is in use by another keyturn process", Fix: "wait until that has ended"}
	}
	return nil
}

// problem turns an error of the file system into an *Error; nil stays nil.
func (f *File) problem(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	fix := ""
	if errors.Is(err, fs.ErrPermission) {
		fix = "check the owner and mode of the file and its folder"
	}
	return &Error{Path: f.path, Problem: err.Error(), Fix: fix, Err: err}
}

// syncFolder makes a rename in the folder last.
func syncFolder(name string) error {
	folder, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("opening the folder: %w", err)
	}
	return errors.Join(folder.Sync(), folder.Close())
}

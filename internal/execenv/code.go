package execenv

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// MaxUnpacked is the most that a deployment package may hold, in bytes ("Lambda
// quotas").
const MaxUnpacked = 262144000

// Why a deployment package is refused.
var (
	ErrNotZip   = errors.New("the deployment package is no zip file, or a broken one")
	ErrEmpty    = errors.New("the deployment package is empty")
	ErrTooLarge = errors.New("the deployment package holds too much")
)

// Check returns ErrNotZip, ErrEmpty or ErrTooLarge for a package that Unpack
// would refuse.
func Check(code []byte) error {
	_, err := open(code)
	return err
}

func open(code []byte) (*zip.Reader, error) {
	z, err := zip.NewReader(bytes.NewReader(code), int64(len(code)))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotZip, err)
	}
	if len(z.File) == 0 {
		return nil, ErrEmpty
	}
	var total uint64
	for _, f := range z.File {
		if f.UncompressedSize64 > MaxUnpacked {
			return nil, ErrTooLarge
		}
		total += f.UncompressedSize64
		if !fs.ValidPath(strings.TrimSuffix(path.Clean(f.Name), "/")) {
			return nil, fmt.Errorf("%w: it holds a path that leads out of it", ErrNotZip)
		}
	}
	if total > MaxUnpacked {
		return nil, ErrTooLarge
	}
	return z, nil
}

// Unpack writes the files of a package below dir, and nowhere else. Whoever may
// enter dir may read them, and run those that the package marks as programs.
func Unpack(code []byte, dir string) error {
	z, err := open(code)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("unpacking a function's code: %w", err)
	}
	defer root.Close()
	for _, f := range z.File {
		if err := unpack(root, f); err != nil {
			return fmt.Errorf("unpacking a function's code: %w", err)
		}
	}
	return nil
}

func unpack(root *os.Root, f *zip.File) error {
	name, mode := path.Clean(f.Name), f.Mode()
	if mode.IsDir() || strings.HasSuffix(f.Name, "/") {
		return root.MkdirAll(name, 0o755)
	}
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	from, err := f.Open()
	if err != nil {
		return err
	}
	defer from.Close()
	if mode&fs.ModeSymlink != 0 {
		return link(root, from, name)
	}
	return write(root, name, from, 0o444|mode.Perm()&0o111)
}

// link makes a symbolic link; where it leads out of the folder, root does not
// follow it, and the process has no more rights there than without.
func link(root *os.Root, from io.Reader, name string) error {
	target, err := io.ReadAll(io.LimitReader(from, 4096))
	if err != nil {
		return err
	}
	return root.Symlink(string(target), name)
}

// write makes a file. What the zip's directory says of sizes was checked, and the
// reader holds it to that.
func write(root *os.Root, name string, from io.Reader, mode fs.FileMode) error {
	to, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, io.LimitReader(from, MaxUnpacked))
	return errors.Join(err, to.Chmod(mode), to.Close())
}

//go:build !unix

package envelope

import "io/fs"

// keepOwner does nothing: files have no owner to keep here.
func keepOwner(string, fs.FileInfo) error { return nil }

// readByOthers is not told by the mode of a file here: the folder's access list counts.
func readByOthers(fs.FileInfo) bool { return false }

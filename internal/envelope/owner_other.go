//go:build !unix

package envelope

import "io/fs"

// keepOwner does nothing: files have no owner to keep here.
func keepOwner(string, fs.FileInfo) error { return nil }

package sqldb

import (
	"errors"
	"sync"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// SQLite writes a commit to the log piece by piece, a header of 24 bytes and a
// page for each page that was changed: some twenty system calls for a new value.
// The file of the log therefore gathers what is written to it, and hands it to the
// system before it does anything else, above all before it is synced. That comes
// before other connections learn of a commit (walFrames in SQLite's wal.c), with
// synchronous=FULL, so nobody looks for what is only gathered.
//
// A "VFS" is what SQLite opens files with ("The SQLite OS Interface or VFS" in its
// documentation). This one has the system's open them, and behind a file of the
// log, in memory that SQLite makes longer for that, it keeps a logFile.

// gatherBytes is the most that a file gathers: 63 pages with their headers. The
// system's files take no more than 131,071 bytes at once (seekAndWriteFd in
// SQLite's os_unix.c).
const gatherBytes = 63 * (24 + pageBytes)

type logFile struct {
	methods  sqlite3.Tsqlite3_io_methods // those of this file, as SQLite finds them
	system   sqlite3.Tsqlite3_io_methods // those of the file before it
	gathered uintptr                     // gatherBytes; 0 until somebody writes
	size     int
	at       int64 // where in the file it belongs
}

// vfs is the VFS of every connection.
var vfs struct {
	sync.Once
	name   uintptr // of the one that gathers; 0: there is no memory for it
	system uintptr // sqlite3_vfs * that opens the files
	behind uintptr // how far behind the beginning of a file its logFile lies
}

// gathering returns the name of the VFS, which it makes known to SQLite first.
func gathering() (name uintptr, err error) {
	vfs.Do(registerVFS)
	if vfs.name == 0 {
		return 0, errors.New("no memory for the log's file")
	}
	return vfs.name, nil
}

func registerVFS() {
	tls := libc.NewTLS() // is needed as long as the VFS
	e := &engine{tls: tls}
	vfs.system = sqlite3.Xsqlite3_vfs_find(tls, 0)
	own, err := e.alloc(unsafe.Sizeof(sqlite3.Tsqlite3_vfs{}))
	if err != nil {
		return
	}
	name, err := e.text("keyturn")
	if err != nil {
		return
	}
	v := (*sqlite3.Tsqlite3_vfs)(pointer(own))
	*v = *(*sqlite3.Tsqlite3_vfs)(pointer(vfs.system))
	const word = int32(wordBytes)
	vfs.behind = uintptr((v.FszOsFile + word - 1) / word * word) //nolint:gosec // a size
	v.FszOsFile = int32(vfs.behind + unsafe.Sizeof(logFile{}))   //nolint:gosec // a size
	v.FzName, v.FxOpen = name, function(openFile)
	if sqlite3.Xsqlite3_vfs_register(tls, own, 0) == sqlite3.SQLITE_OK {
		vfs.name = name
	}
}

// function is the address by which the library calls f, a function of a package.
func function[F any](f F) uintptr {
	return *(*uintptr)(unsafe.Pointer(&struct{ f F }{f})) //nolint:gosec // as the library makes its own
}

// method is the function of the library at an address.
func method[F any](p uintptr) F {
	return *(*F)(unsafe.Pointer(&struct{ p uintptr }{p})) //nolint:gosec // as the library calls its own
}

func openFile(tls *libc.TLS, _, name, file uintptr, flags int32, outFlags uintptr) int32 {
	open := method[func(*libc.TLS, uintptr, uintptr, uintptr, int32, uintptr) int32]((*sqlite3.Tsqlite3_vfs)(pointer(vfs.system)).FxOpen)
	rc := open(tls, vfs.system, name, file, flags, outFlags)
	if rc != sqlite3.SQLITE_OK || flags&sqlite3.SQLITE_OPEN_WAL == 0 {
		return rc
	}
	f, opened := logFileOf(file), (*sqlite3.Tsqlite3_file)(pointer(file))
	*f = logFile{system: *(*sqlite3.Tsqlite3_io_methods)(pointer(opened.FpMethods))}
	f.methods = f.system
	f.methods.FxWrite, f.methods.FxRead = function(writeLog), function(readLog)
	f.methods.FxSync, f.methods.FxTruncate = function(syncLog), function(truncateLog)
	f.methods.FxFileSize, f.methods.FxClose = function(sizeOfLog), function(closeLog)
	opened.FpMethods = file + vfs.behind + unsafe.Offsetof(f.methods)
	return rc
}

func logFileOf(file uintptr) *logFile { return (*logFile)(pointer(file + vfs.behind)) }

// writeLog gathers n bytes. What does not follow what is gathered, or does not
// find room, goes after it.
func writeLog(tls *libc.TLS, file, from uintptr, n int32, at int64) int32 {
	f := logFileOf(file)
	if at != f.at+int64(f.size) || f.size+int(n) > gatherBytes {
		if rc := f.flush(tls, file); rc != sqlite3.SQLITE_OK {
			return rc
		}
		f.at = at
	}
	if f.gathered == 0 {
		f.gathered = sqlite3.Xsqlite3_malloc64(tls, gatherBytes)
	}
	if n > gatherBytes || f.gathered == 0 {
		return f.write(tls, file, from, n, at)
	}
	copy(memory(f.gathered+uintptr(f.size), int(n)), memory(from, int(n)))
	f.size += int(n)
	return sqlite3.SQLITE_OK
}

// flush hands what is gathered to the system, whether that succeeds or not:
// whoever hears of a failure while it writes takes back the whole transaction, and
// writes anew.
func (f *logFile) flush(tls *libc.TLS, file uintptr) int32 {
	if f.size == 0 {
		return sqlite3.SQLITE_OK
	}
	n := f.size
	f.size = 0
	return f.write(tls, file, f.gathered, int32(n), f.at) //nolint:gosec // at most gatherBytes
}

// show is flush for those who look at the file. After a failure what is gathered
// stays: it may belong to a transaction that goes on.
func (f *logFile) show(tls *libc.TLS, file uintptr) int32 {
	n := f.size
	rc := f.flush(tls, file)
	if rc != sqlite3.SQLITE_OK {
		f.size = n
	}
	return rc
}

func (f *logFile) write(tls *libc.TLS, file, from uintptr, n int32, at int64) int32 {
	return method[func(*libc.TLS, uintptr, uintptr, int32, int64) int32](f.system.FxWrite)(tls, file, from, n, at)
}

func readLog(tls *libc.TLS, file, to uintptr, n int32, at int64) int32 {
	f := logFileOf(file)
	if rc := f.show(tls, file); rc != sqlite3.SQLITE_OK {
		return rc
	}
	return method[func(*libc.TLS, uintptr, uintptr, int32, int64) int32](f.system.FxRead)(tls, file, to, n, at)
}

func syncLog(tls *libc.TLS, file uintptr, flags int32) int32 {
	f := logFileOf(file)
	if rc := f.flush(tls, file); rc != sqlite3.SQLITE_OK {
		return rc
	}
	return method[func(*libc.TLS, uintptr, int32) int32](f.system.FxSync)(tls, file, flags)
}

func truncateLog(tls *libc.TLS, file uintptr, size int64) int32 {
	f := logFileOf(file)
	if rc := f.flush(tls, file); rc != sqlite3.SQLITE_OK {
		return rc
	}
	return method[func(*libc.TLS, uintptr, int64) int32](f.system.FxTruncate)(tls, file, size)
}

func sizeOfLog(tls *libc.TLS, file, size uintptr) int32 {
	f := logFileOf(file)
	if rc := f.show(tls, file); rc != sqlite3.SQLITE_OK {
		return rc
	}
	return method[func(*libc.TLS, uintptr, uintptr) int32](f.system.FxFileSize)(tls, file, size)
}

func closeLog(tls *libc.TLS, file uintptr) int32 {
	f := logFileOf(file)
	flushed := f.flush(tls, file)
	sqlite3.Xsqlite3_free(tls, f.gathered)
	f.gathered = 0
	if rc := method[func(*libc.TLS, uintptr) int32](f.system.FxClose)(tls, file); rc != sqlite3.SQLITE_OK {
		return rc
	}
	return flushed
}

package audit

import (
	"bytes"
	"crypto/rand"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// history is a log with a past: calls, ends, crashes, several files.
type history struct {
	t      testing.TB
	config Config
	log    *Log // nil: not open
}

// Whatever happened to a server, its log verifies; whatever somebody did to the files of
// a log that was closed is found, then and after the next start. (-count=100 draws more;
// most of the time goes to the disk.)
func TestAnyHistoryVerifiesUntilItIsChanged(t *testing.T) {
	for range 20 {
		draws := make([]byte, 64<<10)
		_, _ = rand.Read(draws) // never fails
		h := &history{t: t, config: testConfig(t.TempDir())}
		rapid.MakeFuzz(h.live)(t, draws)
	}
}

// live is the log's past, its change and the next start.
func (h *history) live(rt *rapid.T) {
	h.config.MaxFile = rapid.Int64Range(1500, 8000).Draw(rt, "file size")
	for range rapid.IntRange(1, 12).Draw(rt, "events") {
		h.happen(rt)
	}
	h.start()
	h.end()
	before := h.files()
	h.tamper(rt)
	if h.sameAs(before) {
		h.wantWhole(rt)
		return
	}
	h.wantBroken(rt, "when it was changed")
	if text(h.files())+"\n" == text(before) {
		return // the next start puts the newline back
	}
	h.config.Known = true
	if l, err := Open(h.config); err == nil { // or it does not start
		record(h.t, l, getValue(1))
		closeLog(h.t, l)
	}
	h.wantBroken(rt, "after the next start")
}

// happen makes the server do something, or something happen to it.
func (h *history) happen(t *rapid.T) {
	h.start()
	switch rapid.SampledFrom([]string{"calls", "calls", "sync", "end", "crash"}).Draw(t, "event") {
	case "calls":
		record(h.t, h.log, events(rapid.IntRange(1, 6).Draw(t, "calls"))...)
	case "sync":
		if err := h.log.sync(); err != nil {
			t.Fatal(err)
		}
	case "end":
		h.end()
	case "crash":
		h.crash(t)
	}
	h.wantWhole(t)
}

func (h *history) start() {
	if h.log == nil {
		h.log = open(h.t, h.config)
		h.config.Known = true
	}
}

func (h *history) end() {
	closeLog(h.t, h.log)
	h.log = nil
}

// crash kills the server, maybe within its last write, which no head vouches for.
func (h *history) crash(t *rapid.T) {
	signed, file := h.log.signed, h.log.file.Name()
	if err := h.log.closeFiles(); err != nil {
		t.Fatal(err)
	}
	h.log = nil
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	keep := len(text)
	if end := endOf(text); end.sequence > signed.sequence {
		begin := bytes.LastIndexByte(text[:len(text)-1], '\n') + 1
		keep = rapid.IntRange(begin, len(text)).Draw(t, "kept")
	}
	if err := os.Truncate(file, int64(keep)); err != nil {
		t.Fatal(err)
	}
}

func (h *history) wantWhole(t *rapid.T) {
	if r, err := verifyDir(h.t, h.config.Dir); err != nil {
		t.Fatalf("a log that nobody touched is refused: %v, %+v", err, r)
	}
}

func (h *history) wantBroken(t *rapid.T, when string) {
	if r, err := verifyDir(h.t, h.config.Dir); !isBreak(err) {
		t.Fatalf("the change is not found %s: %v, %+v", when, err, r)
	}
}

// files are the names and contents of the log's files.
func (h *history) files() map[string]string {
	all := map[string]string{}
	err := filepath.WalkDir(h.config.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		all[filepath.Base(path)] = string(text)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return all
}

// text is what stands in the log's files: in which of them a line stands does not matter.
func text(files map[string]string) (all string) {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasPrefix(name, filePrefix) {
			all += files[name]
		}
	}
	return all
}

// sameAs tells whether the log says the same. Behind its end may be what a start that
// crashes leaves there.
func (h *history) sameAs(before map[string]string) bool {
	now := h.files()
	rest, same := strings.CutPrefix(text(now), text(before))
	for line := range strings.Lines(rest) {
		_, isLine := parseTail([]byte(strings.TrimSuffix(line, "\n")))
		same = same && !isLine
	}
	return same && !strings.HasSuffix(rest, "\n") && now[headFile] == before[headFile]
}

// tamper changes the files once or twice.
func (h *history) tamper(t *rapid.T) {
	for range rapid.IntRange(1, 2).Draw(t, "changes") {
		files, err := Files(h.config.Dir)
		if err != nil || len(files) == 0 {
			return
		}
		one, other := rapid.SampledFrom(files).Draw(t, "one"), rapid.SampledFrom(files).Draw(t, "other")
		switch rapid.SampledFrom([]string{"lines", "lines", "remove", "swap", "copy", "behind", "before", "head"}).Draw(t, "what") {
		case "lines":
			h.change(one, func(text []byte) []byte {
				if bytes.IndexByte(text, '\n') < 0 {
					return nil
				}
				return tamper(t, text)
			})
		case "remove":
			h.must(os.Remove(one))
		case "swap":
			h.must(os.Rename(one, one+".x"))
			if one != other {
				h.must(os.Rename(other, one))
			}
			h.must(os.Rename(one+".x", other))
		case "copy":
			text := h.files()[filepath.Base(one)]
			h.change(other, func([]byte) []byte { return []byte(text) })
		case "behind":
			text := h.files()[filepath.Base(one)]
			h.must(os.WriteFile(filepath.Join(h.config.Dir, fileName(len(files)+7)), []byte(text), 0o600))
		case "before":
			h.change(files[0], func(text []byte) []byte { return append([]byte("{}\n"), text...) })
		case "head":
			h.change(filepath.Join(h.config.Dir, headFile), func(text []byte) []byte {
				// The next start knows its public key and writes it again.
				at := rapid.IntRange(0, bytes.Index(text, []byte(`"publicKey"`))-1).Draw(t, "at")
				changed := bytes.Clone(text)
				changed[at] ^= 1
				return changed
			})
		}
	}
}

func (h *history) must(err error) {
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *history) change(path string, to func([]byte) []byte) {
	text, err := os.ReadFile(path)
	h.must(err)
	h.must(os.WriteFile(path, to(text), 0o600))
}

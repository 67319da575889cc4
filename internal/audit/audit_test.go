package audit

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

var (
	testKey  = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	testTime = time.Date(2026, 3, 4, 5, 6, 7, 89_000_000, time.UTC)
)

func testConfig(dir string) Config {
	return Config{Dir: dir, Key: testKey, Fsync: FsyncNever, Now: func() time.Time { return testTime }, Log: slog.New(slog.DiscardHandler)}
}

func open(t testing.TB, c Config) *Log {
	t.Helper()
	l, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func record(t testing.TB, l *Log, events ...*Event) {
	t.Helper()
	for _, e := range events {
		if err := l.Record(e); err != nil {
			t.Fatal(err)
		}
	}
}

func closeLog(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func getValue(n int) *Event {
	return &Event{Time: testTime, Type: APICall, Source: "secretsmanager.amazonaws.com", Name: "GetSecretValue",
		Principal: "arn:aws:iam::111122223333:user/app", AccessKeyID: "AKIAIOSFODNN7EXAMPLE", Account: "111122223333", Region: "us-east-1",
		Resource:  "arn:aws:secretsmanager:us-east-1:444455556666:secret:prod/db-AbCdEf",
		VersionID: "11111111-2222-3333-4444-555555555555", SourceIP: "192.0.2.7", UserAgent: "aws-cli/2",
		RequestID: fmt.Sprintf("00000000-0000-0000-0000-%012d", n)}
}

func events(n int) (all []*Event) {
	for i := range n {
		all = append(all, getValue(i))
	}
	return all
}

// written is a log with n calls that was closed.
func written(t testing.TB, c Config, n int) {
	t.Helper()
	l := open(t, c)
	record(t, l, events(n)...)
	closeLog(t, l)
}

func verifyDir(t testing.TB, dir string) (*Report, error) {
	t.Helper()
	p, err := Folder(dir)
	if err != nil {
		return nil, err
	}
	p.Key = publicKey(testKey)
	return Verify(p)
}

func checkWhole(t testing.TB, dir string, lines uint64) *Report {
	t.Helper()
	r, err := verifyDir(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	if r.Lines != lines || r.Last.Sequence != lines {
		t.Errorf("the log has %d lines up to %d, want %d", r.Lines, r.Last.Sequence, lines)
	}
	return r
}

func readLines(t testing.TB, dir string) (lines []string) {
	t.Helper()
	r := NewReader(dir)
	defer r.Close()
	for {
		line, err := r.Next()
		if errors.Is(err, io.EOF) {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(line))
	}
}

func entries(t testing.TB, dir string) (all []*Entry) {
	t.Helper()
	for _, line := range readLines(t, dir) {
		e, err := ParseLine([]byte(line))
		if err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all = append(all, e)
	}
	return all
}

func TestLine(t *testing.T) {
	dir := t.TempDir()
	l := open(t, testConfig(dir))
	record(t, l, getValue(1), &Event{Time: testTime, Type: ServiceEvent, Source: "secretsmanager.amazonaws.com", Name: "RotationFailed",
		Account: "111122223333", Region: "eu-west-1", Resource: "*", ErrorText: "no \"route\"\n"})
	closeLog(t, l)
	lines := readLines(t, dir)
	for i, want := range []string{
		1: `{"eventVersion":"1.11","eventTime":"2026-03-04T05:06:07.089Z","eventType":"AwsApiCall","eventSource":"secretsmanager.amazonaws.com",` +
			`"eventName":"GetSecretValue","userIdentity":{"arn":"arn:aws:iam::111122223333:user/app","accountId":"111122223333","accessKeyId":"AKIAIOSFODNN7EXAMPLE"},` +
			`"awsRegion":"us-east-1","sourceIPAddress":"192.0.2.7","userAgent":"aws-cli/2","requestID":"00000000-0000-0000-0000-000000000001",` +
			`"resources":[{"ARN":"arn:aws:secretsmanager:us-east-1:444455556666:secret:prod/db-AbCdEf"}],"versionId":"11111111-2222-3333-4444-555555555555",` +
			`"recipientAccountId":"444455556666","sequence":2,"previous":"`,
		2: `{"eventVersion":"1.11","eventTime":"2026-03-04T05:06:07.089Z","eventType":"AwsServiceEvent","eventSource":"secretsmanager.amazonaws.com",` +
			`"eventName":"RotationFailed","userIdentity":{"invokedBy":"secretsmanager.amazonaws.com","accountId":"111122223333"},"awsRegion":"eu-west-1",` +
			`"errorMessage":"no \"route\"\u000a","resources":[{"ARN":"*"}],"recipientAccountId":"111122223333","sequence":3,"previous":"`,
	} {
		if !strings.HasPrefix(lines[i], want) {
			t.Errorf("line %d is\n%s\nwant\n%s", i+1, lines[i], want)
		}
	}
	if r := checkWhole(t, dir, 4); r.Signed != 4 {
		t.Errorf("signed up to %d", r.Signed)
	}
	for _, path := range []string{"audit-000001.jsonl", headFile} {
		if info, err := os.Stat(filepath.Join(dir, path)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}

// Whatever a stranger writes stays within its member, its line and its bounds.
func TestNothingIsInjected(t *testing.T) {
	dir := t.TempDir()
	l := open(t, testConfig(dir))
	text := rapid.OneOf(rapid.String(), rapid.StringN(0, 4000, -1), rapid.SampledFrom([]string{
		"\"}\n{\"eventName\":\"GetSecretValue", "\x1b[2J", "\u202etxt", "\xff\xfe\x80", "a\u2028b\x00", `\`, strings.Repeat("é", 3000)}))
	checked := 0
	rapid.Check(t, func(t *rapid.T) {
		e := &Event{Time: testTime, Type: APICall, Source: "rds.amazonaws.com", Name: text.Draw(t, "name"), Principal: text.Draw(t, "principal"),
			AccessKeyID: text.Draw(t, "key"), Account: text.Draw(t, "account"), Region: text.Draw(t, "region"), Resource: text.Draw(t, "resource"),
			VersionID: text.Draw(t, "version"), SourceIP: text.Draw(t, "ip"), UserAgent: text.Draw(t, "agent"), RequestID: text.Draw(t, "request"),
			ErrorCode: text.Draw(t, "code"), ErrorText: text.Draw(t, "error")}
		line, _ := appendChain(appendEvent(nil, e), 0, link{})
		if len(line) > maxLine || bytes.IndexByte(line, '\n') != len(line)-1 || !utf8.Valid(line) {
			t.Fatalf("%d bytes: %q", len(line), line)
		}
		read, err := ParseLine(line)
		if err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		checkText(t, read.Name, e.Name, maxName)
		checkText(t, read.UserAgent, e.UserAgent, maxUserAgent)
		checkText(t, read.ErrorText, e.ErrorText, maxErrorText)
		checkText(t, read.Resource(), e.Resource, maxARN)
		if err := l.Record(e); err != nil {
			t.Fatal(err)
		}
		checked++
	})
	closeLog(t, l)
	checkWhole(t, dir, uint64(checked)+2)
}

func checkText(t *rapid.T, got, want string, most int) {
	whole := strings.ToValidUTF8(want, "\ufffd")
	if len(want) <= most && strings.Count(got, "\ufffd") == 0 && got != whole {
		t.Fatalf("%q was written as %q", want, got)
	}
	if utf8.ValidString(want) && strings.Count(got, "\ufffd") > strings.Count(want, "\ufffd") {
		t.Fatalf("%q was cut within a character: %q", want, got)
	}
	if len(got) > 3*most+3 {
		t.Fatalf("%d bytes of a text were kept", len(got))
	}
}

func TestRecipientIsTheOwner(t *testing.T) {
	for resource, want := range map[string]string{
		"*": "111122223333", "": "111122223333", "arn:aws:keyturn::000000000000:key/1": "000000000000",
		"arn:aws:secretsmanager:us-east-1:444455556666:secret:a-AbCdEf": "444455556666", "arn:aws:s3:::bucket": "111122223333",
	} {
		if got := recipient(&Event{Account: "111122223333", Resource: resource}); got != want {
			t.Errorf("%q is %s's, want %s", resource, got, want)
		}
	}
}

// A log goes on where it ended, over any number of files.
func TestRotation(t *testing.T) {
	dir := t.TempDir()
	c := testConfig(dir)
	c.MaxFile = 2000
	written(t, c, 5)
	written(t, c, 5)
	r := checkWhole(t, dir, 14)
	files, err := Files(dir)
	if err != nil || len(files) < 5 || r.Files != len(files) {
		t.Errorf("%d files, %d read, %v", len(files), r.Files, err)
	}
	for _, path := range files {
		if info, err := os.Stat(path); err != nil || info.Size() > c.MaxFile {
			t.Errorf("%s: %v, %v", path, info.Size(), err)
		}
	}
	for _, missing := range files {
		moved := missing + ".away"
		if err := os.Rename(missing, moved); err != nil {
			t.Fatal(err)
		}
		if _, err := verifyDir(t, dir); !isBreak(err) {
			t.Errorf("without %s: %v", missing, err)
		}
		if err := os.Rename(moved, missing); err != nil {
			t.Fatal(err)
		}
	}
}

func isBreak(err error) bool {
	_, ok := errors.AsType[*BreakError](err)
	return ok
}

func TestVerifyFromALaterLine(t *testing.T) {
	dir := t.TempDir()
	c := testConfig(dir)
	c.MaxFile = 2000
	written(t, c, 8)
	files, err := Files(dir)
	if err != nil {
		t.Fatal(err)
	}
	head, err := readHead(dir)
	if err != nil {
		t.Fatal(err)
	}
	p := Proof{Files: files[2:], Head: head}
	_, err = Verify(p)
	broken, ok := errors.AsType[*BreakError](err)
	if !ok || broken.Sequence != 1 || broken.Line != 1 {
		t.Fatalf("got %v", err)
	}
	first := entries(t, dir)
	for _, e := range first {
		p.From = e.Sequence
		r, err := Verify(p)
		if err == nil {
			if r.Signed != uint64(len(first)) || r.First != p.From {
				t.Errorf("%+v", r)
			}
			return
		}
	}
	t.Error("the later files verify from no line on")
}

// A place that was explained is passed over, wherever it stands in a file; whatever is
// behind it counts.
func TestVerifyBehindAGap(t *testing.T) {
	dir := t.TempDir()
	written(t, testConfig(dir), 4)
	path := filepath.Join(dir, fileName(1))
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	rewrite(t, path, bytes.Join(lines[:3], nil)) // of 6
	written(t, testConfig(dir), 2)               // lines 7 to 10
	p, err := Folder(dir)
	if err != nil {
		t.Fatal(err)
	}
	for from, part := range map[uint64]string{0: "lines 4 to 6 are missing", 3: "lines 4 to 6 are missing", 5: "instead of 5", 7: "", 9: "", 11: "no line 11"} {
		p.From = from
		r, err := Verify(p)
		if part == "" && (err != nil || r.First != from || r.Signed != 10) {
			t.Errorf("from %d: %+v, %v", from, r, err)
		}
		if part != "" && (!isBreak(err) || !strings.Contains(err.Error(), part)) {
			t.Errorf("from %d: %v", from, err)
		}
	}
	lines = bytes.SplitAfter(text, []byte("\n"))
	if text, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	rewrite(t, path, bytes.Join([][]byte{lines[0], []byte("{}\n"), text}, nil))
	p.From = 7
	if _, err := Verify(p); err != nil {
		t.Errorf("behind an added line: %v", err)
	}
	rewrite(t, path, text[:len(text)-300])
	if _, err := Verify(p); !isBreak(err) {
		t.Errorf("without the end: %v", err)
	}
}

func TestVerifyKnownLines(t *testing.T) {
	dir := t.TempDir()
	written(t, testConfig(dir), 3)
	p, err := Folder(dir)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Verify(p)
	if err != nil {
		t.Fatal(err)
	}
	p.Known = []Line{r.Last}
	if _, err := Verify(p); err != nil {
		t.Error(err)
	}
	for _, known := range []Line{{r.Last.Sequence - 1, r.Last.Hash}, {r.Last.Sequence + 1, r.Last.Hash}} {
		p.Known = []Line{known}
		if _, err := Verify(p); !isBreak(err) {
			t.Errorf("%d: %v", known.Sequence, err)
		}
	}
	p.Known, p.Key = nil, publicKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if _, err := Verify(p); !isBreak(err) {
		t.Errorf("another key: %v", err)
	}
}

// Any change of the lines is found: of one byte, and of their order and number.
func TestTamperingIsFound(t *testing.T) {
	dir := t.TempDir()
	c := testConfig(dir)
	c.MaxFile = 3000
	written(t, c, 4)
	written(t, c, 4)
	files, err := Files(dir)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		path := rapid.SampledFrom(files).Draw(rt, "file")
		text, err := os.ReadFile(path)
		if err != nil {
			rt.Fatal(err)
		}
		changed := tamper(rt, text)
		if bytes.Equal(changed, text) {
			rt.Skip("nothing changed")
		}
		rewrite(t, path, changed)
		defer rewrite(t, path, text)
		if _, err := verifyDir(t, dir); !isBreak(err) {
			rt.Fatalf("got %v", err)
		}
	})
	checkWhole(t, dir, 12)
}

func rewrite(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func tamper(t *rapid.T, text []byte) []byte {
	lines := bytes.SplitAfter(bytes.Clone(text), []byte("\n"))
	lines = lines[:len(lines)-1]
	i, j := rapid.IntRange(0, len(lines)-1).Draw(t, "i"), rapid.IntRange(0, len(lines)-1).Draw(t, "j")
	switch rapid.SampledFrom([]string{"byte", "cut", "truncate", "remove", "swap", "repeat", "insert"}).Draw(t, "how") {
	case "byte":
		at := rapid.IntRange(0, len(text)-1).Draw(t, "at")
		changed := bytes.Clone(text)
		changed[at] = rapid.Byte().Draw(t, "byte")
		return changed
	case "cut":
		at := rapid.IntRange(0, len(text)-1).Draw(t, "at")
		return append(bytes.Clone(text[:at]), text[at+1:]...)
	case "truncate":
		return text[:rapid.IntRange(0, len(text)-1).Draw(t, "length")]
	case "remove":
		lines = append(lines[:i:i], lines[i+1:]...)
	case "swap":
		lines[i], lines[j] = lines[j], lines[i]
	case "repeat":
		lines = append(lines[:i:i], append([][]byte{lines[j]}, lines[i:]...)...)
	case "insert":
		foreign := rapid.SampledFrom([]string{"\n", "{}\n", "x\n", string(forged(text))}).Draw(t, "line")
		lines = append(lines[:i:i], append([][]byte{[]byte(foreign)}, lines[i:]...)...)
	}
	return bytes.Join(lines, nil)
}

// forged is a line that continues the last one, as whoever lacks the key can
// make it too.
func forged(text []byte) []byte {
	end := endOf(text)
	line, _ := appendChain(appendEvent(nil, getValue(99)), 0, end.link)
	return line
}

func TestLinesBehindTheEndAreFound(t *testing.T) {
	dir := t.TempDir()
	written(t, testConfig(dir), 2)
	path := filepath.Join(dir, fileName(1))
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rewrite(t, path, append(bytes.Clone(text), forged(text)...))
	if _, err := verifyDir(t, dir); !isBreak(err) {
		t.Errorf("got %v", err)
	}
}

// What a head of another key vouches for is not believed, and neither is a head
// that was changed.
func TestHeadIsSigned(t *testing.T) {
	dir := t.TempDir()
	written(t, testConfig(dir), 2)
	path := filepath.Join(dir, headFile)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range bytes.TrimRight(text, " \n") {
		changed := bytes.Clone(text)
		changed[i] ^= 1
		rewrite(t, path, changed)
		if _, err := verifyDir(t, dir); !isBreak(err) {
			t.Errorf("byte %d, %q: %v", i, text[i], err)
		}
	}
	end := link{sequence: 4}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := sign(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), end, testTime).write(f); err != nil {
		t.Fatal(err)
	}
	if _, err := verifyDir(t, dir); !isBreak(err) {
		t.Errorf("got %v", err)
	}
}

// A crash at any byte of what is written leaves a log that goes on and verifies,
// also when the next start crashes.
func TestCrashAtEveryByte(t *testing.T) {
	dir := t.TempDir()
	l := open(t, testConfig(dir))
	record(t, l, getValue(1))
	path := filepath.Join(dir, fileName(1))
	sealed := fileSize(t, path)
	if err := l.sync(); err != nil {
		t.Fatal(err)
	}
	record(t, l, getValue(2))
	whole := fileSize(t, path)
	closeFiles(t, l)
	for size := sealed; size <= whole; size++ {
		crashed := copyLog(t, dir, size)
		mended := 0
		if size > sealed && size < whole-1 { // all but the newline is a line
			mended = 1
		}
		checkMended(t, crashed, mended, fmt.Sprint("at byte ", size-sealed))
	}
}

func TestCrashOfTheMending(t *testing.T) {
	dir := t.TempDir()
	l := open(t, testConfig(dir))
	record(t, l, getValue(1))
	closeFiles(t, l)
	path := filepath.Join(dir, fileName(1))
	torn := fileSize(t, path) - 100
	if err := os.Truncate(path, torn); err != nil {
		t.Fatal(err)
	}
	once := copyLog(t, dir, torn)
	closeFiles(t, open(t, testConfig(once)))
	whole := fileSize(t, filepath.Join(once, fileName(1)))
	for size := torn; size < whole-1; size += 7 {
		again := copyLog(t, once, size)
		head, err := os.ReadFile(filepath.Join(dir, headFile)) // the mending was not signed
		if err != nil {
			t.Fatal(err)
		}
		rewrite(t, filepath.Join(again, headFile), head)
		checkMended(t, again, 1, fmt.Sprint("at byte ", size-torn))
	}
}

// Half a line that a start has found is part of the log from then on.
// A file that holds anything else costs no memory of its size.
func TestVerifyKeepsNoTornText(t *testing.T) {
	dir := t.TempDir()
	written(t, testConfig(dir), 1)
	rewrite(t, filepath.Join(dir, fileName(1)), bytes.Repeat(append(bytes.Repeat([]byte("x"), 1023), '\n'), 8<<10))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := verifyDir(t, dir)
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; !isBreak(err) || grown > 2<<20 {
		t.Errorf("it took %d bytes to find %v", grown, err)
	}
}

// Behind the file with the number 999999 comes one whose name is sorted before it.
func TestFilesAreInTheOrderOfTheirNumbers(t *testing.T) {
	dir := t.TempDir()
	for _, number := range []int{1000000, 999998, 999999} {
		if err := os.WriteFile(filepath.Join(dir, fileName(number)), fmt.Appendln(nil, number), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if lines := readLines(t, dir); !slices.Equal(lines, []string{"999998", "999999", "1000000"}) {
		t.Errorf("read %q", lines)
	}
	r := NewReader(dir)
	defer r.Close()
	if err := r.SkipTo(2); err != nil {
		t.Fatal(err)
	}
	if line, err := r.Next(); err != nil || string(line) != "999999" {
		t.Errorf("the last two lines begin with %q, %v", line, err)
	}
}

func TestRemovedHalfLineIsFound(t *testing.T) {
	dir := t.TempDir()
	l := open(t, testConfig(dir))
	record(t, l, getValue(1))
	closeFiles(t, l)
	path := filepath.Join(dir, fileName(1))
	if err := os.Truncate(path, fileSize(t, path)-100); err != nil {
		t.Fatal(err)
	}
	checkMended(t, dir, 1, "as it was left")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	rewrite(t, path, bytes.Join(append(lines[:1:1], lines[2:]...), nil))
	if _, err := verifyDir(t, dir); !isBreak(err) {
		t.Errorf("got %v", err)
	}
}

func checkMended(t *testing.T, dir string, mended int, where string) {
	t.Helper()
	if _, err := verifyDir(t, dir); err != nil {
		t.Errorf("%s, before the start: %v", where, err)
	}
	written(t, testConfig(dir), 1)
	r, err := verifyDir(t, dir)
	if err != nil || r.Mended != uint64(mended) || r.Signed != r.Last.Sequence {
		t.Errorf("%s: %+v, %v", where, r, err)
	}
	for _, line := range readLines(t, dir) {
		if e, err := ParseLine([]byte(line)); err == nil && e.Sequence == 0 {
			t.Errorf("%s: half a line is read: %s", where, line)
		}
	}
}

func closeFiles(t *testing.T, l *Log) {
	t.Helper()
	if err := l.closeFiles(); err != nil {
		t.Fatal(err)
	}
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// copyLog copies a log of one file, of which size bytes.
func copyLog(t *testing.T, dir string, size int64) string {
	t.Helper()
	to := t.TempDir()
	for _, name := range []string{fileName(1), headFile} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if name != headFile {
			text = text[:size]
		}
		rewrite(t, filepath.Join(to, name), text)
	}
	return to
}

// What was removed while no server ran is missed, also after the next start has
// signed again.
func TestRemovalBetweenTwoStartsIsFound(t *testing.T) {
	for name, remove := range map[string]func(t *testing.T, dir string){
		"LastLine": func(t *testing.T, dir string) {
			path := filepath.Join(dir, fileName(1))
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			rewrite(t, path, text[:bytes.LastIndexByte(text[:len(text)-1], '\n')+1])
		},
		"LastBytes": func(t *testing.T, dir string) {
			path := filepath.Join(dir, fileName(1))
			if err := os.Truncate(path, fileSize(t, path)-200); err != nil {
				t.Fatal(err)
			}
		},
		"AllLines": func(t *testing.T, dir string) { rewrite(t, filepath.Join(dir, fileName(1)), nil) },
		"File":     func(t *testing.T, dir string) { remove(t, filepath.Join(dir, fileName(1))) },
		"Head":     func(t *testing.T, dir string) { remove(t, filepath.Join(dir, headFile)) },
		"Everything": func(t *testing.T, dir string) {
			remove(t, filepath.Join(dir, headFile))
			remove(t, filepath.Join(dir, fileName(1)))
		},
		"AllLinesAndHead": func(t *testing.T, dir string) {
			remove(t, filepath.Join(dir, headFile))
			rewrite(t, filepath.Join(dir, fileName(1)), nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c := testConfig(dir)
			written(t, c, 3)
			remove(t, dir)
			c.Known = true
			written(t, c, 3)
			if r, err := verifyDir(t, dir); !isBreak(err) {
				t.Errorf("got %+v, %v", r, err)
			}
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func TestManyAtOnce(t *testing.T) {
	for _, policy := range []Fsync{FsyncInterval, FsyncAlways, FsyncNever} {
		t.Run(string(policy), func(t *testing.T) {
			dir := t.TempDir()
			c := testConfig(dir)
			c.Fsync, c.MaxFile = policy, 20_000
			l := open(t, c)
			var crew sync.WaitGroup
			const callers, calls = 16, 40
			for i := range callers {
				crew.Go(func() {
					for j := range calls {
						if err := l.Record(getValue(i*calls + j)); err != nil {
							t.Error(err)
						}
					}
				})
			}
			crew.Wait()
			closeLog(t, l)
			checkWhole(t, dir, callers*calls+2)
			seen := map[string]bool{}
			for _, e := range entries(t, dir) {
				seen[e.RequestID] = true
			}
			if len(seen) != callers*calls+1 {
				t.Errorf("%d calls are in the log", len(seen)-1)
			}
		})
	}
}

// A call that does not end in time may still come to an end while the log is closed:
// it is in the log before its end, or refused.
func TestRecordDuringClose(t *testing.T) {
	for range 20 {
		c := testConfig(t.TempDir())
		l := open(t, c)
		var crew sync.WaitGroup
		var recorded atomic.Uint64
		for range 4 {
			crew.Go(func() {
				for l.Record(getValue(1)) == nil {
					recorded.Add(1)
				}
			})
		}
		time.Sleep(time.Millisecond)
		closeLog(t, l)
		crew.Wait()
		checkWhole(t, c.Dir, recorded.Load()+2)
	}
}

// swapFile changes the file while nobody writes: who does reads it without the lock.
func (l *Log) swapFile(f *os.File) (old *os.File) {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	old, l.file = l.file, f
	return old
}

// While the disk is full no call is recorded, and all are told so. Once it is
// not, the log goes on, and tells how many it lost.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l := open(t, testConfig(dir))
		ended := make(chan error, 1)
		go func() { ended <- l.Run(t.Context()) }()
		record(t, l, getValue(1))
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		good := l.swapFile(full)
		for range 3 {
			if err := l.Record(getValue(2)); !errors.Is(err, ErrNotRecorded) {
				t.Errorf("got %v", err)
			}
		}
		if !errors.Is(l.Err(), ErrNotRecorded) {
			t.Error("the log seems to be well")
		}
		time.Sleep(5 * Interval)
		if l.Err() == nil {
			t.Error("the log seems to be well")
		}
		l.swapFile(good)
		time.Sleep(2 * Interval)
		record(t, l, getValue(3))
		synctest.Wait()
		closeLog(t, l)
		checkWhole(t, dir, 5)
		if err := full.Close(); err != nil {
			t.Error(err)
		}
		text := strings.Join(readLines(t, dir), "\n")
		if !strings.Contains(text, `"eventName":"RecordingResumed"`) || !strings.Contains(text, `"serviceEventDetails":{"unrecordedCalls":3}`) {
			t.Errorf("the gap is not noted:\n%s", text)
		}
	})
}

// A write that comes to nothing half-way leaves nothing behind.
func TestHalfAWriteIsTakenBack(t *testing.T) {
	dir := t.TempDir()
	l := open(t, testConfig(dir))
	record(t, l, getValue(1))
	if _, err := l.file.WriteString(`{"eventVersion"`); err != nil {
		t.Fatal(err)
	}
	l.broken = true
	record(t, l, getValue(2))
	closeLog(t, l)
	checkWhole(t, dir, 4)
}

func TestRunSigns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l := open(t, testConfig(dir))
		go func() {
			if err := l.Run(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		record(t, l, events(3)...)
		if r := checkWhole(t, dir, 4); r.Signed != 1 {
			t.Errorf("signed up to %d at once", r.Signed)
		}
		time.Sleep(Interval + time.Millisecond)
		synctest.Wait()
		if r := checkWhole(t, dir, 4); r.Signed != 4 {
			t.Errorf("signed up to %d", r.Signed)
		}
		closeFiles(t, l)
	})
}

func TestOpenRefuses(t *testing.T) {
	if _, err := Open(Config{Dir: t.TempDir()}); err == nil {
		t.Error("a log without a key")
	}
	c := testConfig(t.TempDir())
	c.Fsync = "sometimes"
	if _, err := Open(c); err == nil {
		t.Error("an unknown policy")
	}
	c = testConfig(filepath.Join(t.TempDir(), "file"))
	rewrite(t, c.Dir, nil)
	if _, err := Open(c); err == nil {
		t.Error("a folder that is a file")
	}
}

func TestFilter(t *testing.T) {
	denied := getValue(1)
	denied.ErrorCode, denied.Resource = "AccessDeniedException", "arn:aws:secretsmanager:us-east-1:111122223333:secret:prod/other-??????"
	line := func(e *Event) []byte {
		text, _ := appendChain(appendEvent(nil, e), 0, link{})
		return text
	}
	for name, tc := range map[string]struct {
		filter Filter
		event  *Event
		want   bool
	}{
		"All":         {Filter{}, getValue(1), true},
		"Name":        {Filter{Secret: "prod/db"}, getValue(1), true},
		"PartOfName":  {Filter{Secret: "prod"}, getValue(1), false},
		"ARN":         {Filter{Secret: getValue(1).Resource}, getValue(1), true},
		"Missing":     {Filter{Secret: "prod/other", Denied: true}, denied, true},
		"Denied":      {Filter{Denied: true}, getValue(1), false},
		"Event":       {Filter{Event: "GetSecretValue"}, getValue(1), true},
		"OtherEvent":  {Filter{Event: "PutSecretValue"}, getValue(1), false},
		"User":        {Filter{Principal: "user/app"}, getValue(1), true},
		"UserName":    {Filter{Principal: "app"}, getValue(1), true},
		"PartOfUser":  {Filter{Principal: "pp"}, getValue(1), false},
		"Since":       {Filter{Since: testTime}, getValue(1), true},
		"SinceLater":  {Filter{Since: testTime.Add(time.Millisecond)}, getValue(1), false},
		"Until":       {Filter{Until: testTime}, getValue(1), false},
		"UntilLater":  {Filter{Until: testTime.Add(time.Millisecond)}, getValue(1), true},
		"OtherSecret": {Filter{Secret: "prod/other"}, getValue(1), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.filter.Match(line(tc.event)) != nil; got != tc.want {
				t.Errorf("match is %v", got)
			}
		})
	}
	if (&Filter{}).Match([]byte("half a line")) != nil {
		t.Error("what is no line matches")
	}
}

func TestReaderFollows(t *testing.T) {
	dir := t.TempDir()
	c := testConfig(dir)
	c.MaxFile = 1500
	l := open(t, c)
	r := NewReader(dir)
	defer r.Close()
	record(t, l, events(5)...)
	for _, n := range []int{6, 3} {
		for i := range n {
			if _, err := r.Next(); err != nil {
				t.Fatalf("line %d: %v", i, err)
			}
		}
		if line, err := r.Next(); !errors.Is(err, io.EOF) {
			t.Fatalf("got %s, %v", line, err)
		}
		record(t, l, events(3)...)
	}
	closeLog(t, l)
	for n, want := range map[int]int{0: 0, 1: 1, 5: 5, 13: 13, 100: 13} {
		last := NewReader(dir)
		if err := last.SkipTo(n); err != nil {
			t.Fatal(err)
		}
		got := 0
		for {
			if _, err := last.Next(); err != nil {
				break
			}
			got++
		}
		if got != want {
			t.Errorf("of the last %d lines %d are read", n, got)
		}
		if err := last.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A line that is read is written again, byte for byte, by what wrote it; and
// nothing that is no line breaks the readers.
func FuzzLine(f *testing.F) {
	line, _ := appendChain(appendEvent(nil, getValue(1)), 0, link{})
	f.Add(line)
	f.Add([]byte(`{"sequence":1,"previous":"` + strings.Repeat("0", 64) + `"}`))
	f.Add([]byte("\n\nx\n" + string(line)))
	f.Fuzz(func(t *testing.T, text []byte) {
		end := endOf(text)
		if len(end.torn) > len(text) {
			t.Fatal("more is torn than there is")
		}
		(&Filter{Secret: "a", Principal: "b"}).Match(text)
		tail, ok := parseTail(bytes.TrimSuffix(text, []byte("\n")))
		if !ok {
			return
		}
		body := text[:bytes.LastIndex(text, sequenceMark)]
		again, _ := appendChain(bytes.Clone(body), 0, link{sequence: tail.sequence - 1, hash: tail.previous})
		if !bytes.Equal(bytes.TrimSuffix(again, []byte("\n")), bytes.TrimSuffix(text, []byte("\n"))) && !bytes.ContainsAny(text[len(body):], "ABCDEF") {
			t.Fatalf("%q is read as %q", text, again)
		}
	})
}

// A log file of any content is read to its end, or refused, and what a start
// makes of it can be verified by the next.
func FuzzOpen(f *testing.F) {
	line, here := appendChain(appendEvent(nil, getValue(1)), 0, link{})
	second, _ := appendChain(appendEvent(bytes.Clone(line), getValue(2)), len(line), here)
	f.Add(line, []byte("{}"))
	f.Add(second, []byte(nil))
	f.Add(second[:len(second)-30], []byte(nil))
	f.Add([]byte("\n"), []byte("x"))
	f.Fuzz(func(t *testing.T, text, head []byte) {
		dir := t.TempDir()
		rewrite(t, filepath.Join(dir, fileName(1)), text)
		rewrite(t, filepath.Join(dir, headFile), head)
		written(t, testConfig(dir), 1)
		_, first := verifyDir(t, dir)
		written(t, testConfig(dir), 1)
		_, second := verifyDir(t, dir)
		if (first == nil) != (second == nil) {
			t.Fatalf("first %v, then %v", first, second)
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	for _, policy := range []Fsync{FsyncInterval, FsyncAlways} {
		b.Run(string(policy), func(b *testing.B) {
			c := testConfig(b.TempDir())
			c.Fsync = policy
			benchmarkRecord(b, open(b, c))
		})
	}
}

func benchmarkRecord(b *testing.B, l *Log) {
	defer closeLog(b, l)
	e := getValue(1)
	b.ReportAllocs()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := l.Record(e); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkLine(b *testing.B) {
	e := getValue(1)
	var buffer []byte
	at := link{}
	b.ReportAllocs()
	for b.Loop() {
		buffer, at = appendChain(appendEvent(buffer[:0], e), 0, at)
	}
	b.SetBytes(int64(len(buffer)))
}

func BenchmarkVerify(b *testing.B) {
	dir := b.TempDir()
	written(b, testConfig(dir), 20_000)
	for b.Loop() {
		checkWhole(b, dir, 20_002)
	}
	files, _ := Files(dir)
	info, err := os.Stat(files[0])
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(info.Size())
}

// A head that can't be read says nothing of the log; one with something else in
// it does.
func TestHeadThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	head := filepath.Join(dir, headFile)
	if err := os.Mkdir(head, 0o700); err != nil { // also for root no file to be read
		t.Fatal(err)
	}
	if _, err := Folder(dir); err == nil || errors.As(err, new(*BreakError)) {
		t.Errorf("got %v", err)
	}
	if err := errors.Join(os.Remove(head), os.WriteFile(head, []byte("{}\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := Folder(dir); !errors.As(err, new(*BreakError)) {
		t.Errorf("got %v", err)
	}
}

package keyturn_test

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

// BenchmarkHTTP measures the real program over keep-alive connections, beside
// two yardsticks that answer the same requests with the same bytes:
//
//   - bare is net/http and nothing else;
//   - floor is bare with the work that no server of this API can leave out: the
//     signature verified with a cached signing key, which takes the body's hash,
//     and one value opened with AES-256-GCM.
//
// Writes stand beside what the disk's fsync allows, by itself and, at one connection,
// behind synced: bare that writes two pages and syncs them before it answers.
//
// All of them are processes of their own, so that memory and CPU time are the
// server's alone, and are driven in turns by one generator; the figures are
// medians over the rounds. On a machine that others use, trust the ratios.
//
// KEYTURN_BENCH_SECRETS is a list of store sizes (1000,10000), among which
// 1000000 takes minutes more; KEYTURN_BENCH_ROUNDS how often each case runs (9);
// KEYTURN_BENCH_ROUND how long (500ms); KEYTURN_BENCH_DATA a folder in which
// filled stores are kept for the next run; KEYTURN_BENCH_ONLY a regular expression
// that a case's name must match.
func BenchmarkHTTP(b *testing.B) {
	if b.N > 1 {
		b.Skip("run it with -benchtime 1x: it repeats its rounds itself")
	}
	f := newBenchField(b)
	f.fill()
	for _, conns := range []int{1, 16, 64} {
		for _, s := range f.stores { // what was written has to be read anew
			s.readAll(s.hot())
		}
		f.compare(conns, f.reads())
		f.compare(conns, f.writes(conns))
	}
	f.report(os.Stdout)
}

// benchCase is one row of the table.
type benchCase struct {
	name    string
	process *benchProcess
	request func(draw *rand.Rand) []byte
	base    string // the row that this one is compared with
}

// benchResult is one round of a case.
type benchResult struct {
	rate, p50, p99 float64 // requests per second, milliseconds
	cpu            float64 // seconds per 1,000 requests
	rss            float64 // MB at the end
}

type benchRow struct {
	benchCase
	conns  int
	rounds []benchResult
}

// median returns the median over the rounds of one figure.
func (r benchRow) median(figure func(benchResult) float64) float64 {
	all := make([]float64, 0, len(r.rounds))
	for _, round := range r.rounds {
		all = append(all, figure(round))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// benchField is all that one run of the benchmark compares.
type benchField struct {
	b                   *testing.B
	bare, floor, synced *benchProcess
	stores              []*benchStore
	rounds              int
	round               time.Duration
	only                *regexp.Regexp
	rows                []*benchRow
	remarks             []string
}

// benchStore is a server with so many secrets.
type benchStore struct {
	size int
	*benchProcess
}

func newBenchField(b *testing.B) *benchField {
	f := &benchField{b: b, rounds: 9, round: 500 * time.Millisecond, only: regexp.MustCompile(os.Getenv("KEYTURN_BENCH_ONLY"))}
	if text := os.Getenv("KEYTURN_BENCH_ROUNDS"); text != "" {
		f.rounds, _ = strconv.Atoi(text)
	}
	if text := os.Getenv("KEYTURN_BENCH_ROUND"); text != "" {
		f.round, _ = time.ParseDuration(text)
	}
	if f.rounds < 1 || f.round <= 0 {
		b.Fatal("KEYTURN_BENCH_ROUNDS is a number, KEYTURN_BENCH_ROUND a duration")
	}
	binary := benchBinary(b)
	for text := range strings.SplitSeq(cmp.Or(os.Getenv("KEYTURN_BENCH_SECRETS"), "1000,10000"), ",") {
		size, err := strconv.Atoi(text)
		if err != nil || size < 1000 {
			b.Fatalf("KEYTURN_BENCH_SECRETS: %q is no number from 1000", text)
		}
		f.stores = append(f.stores, &benchStore{size, newBenchServer(b, binary, benchFolder(b, size))})
	}
	first := f.stores[0]
	f.bare, f.floor, f.synced = newBenchYardstick(b, "bare", first.key), newBenchYardstick(b, "floor", first.key), newBenchYardstick(b, "synced", first.key)
	return f
}

// benchFolder is where a store of this size lives.
func benchFolder(b *testing.B, size int) string {
	return filepath.Join(benchRoot(b), strconv.Itoa(size))
}

const benchValue = "correct horse battery staple " // 300 bytes of it make a value

// benchName spreads secrets over prefixes of 100 names each.
func benchName(i int) string { return fmt.Sprintf("team%05d/app/password-%02d", i/100, i%100) }

// fill brings every store to its size, and measures that, the start of a filled
// store, and its memory while nothing happens.
func (f *benchField) fill() {
	for _, s := range f.stores {
		if !s.has(benchName(s.size - 1)) {
			took := s.create(0, s.size)
			f.remark("filling %d secrets: %.1f s, %.0f/s", s.size, took.Seconds(), float64(s.size)/took.Seconds())
		}
		s.readAll(s.size) // the first read of a day is noted
		s.stop()
		ready := s.start()
		time.Sleep(2 * time.Second)
		f.remark("%d secrets: first answer %d ms after the start, %.0f MB idle", s.size, ready.Milliseconds(), s.rss())
	}
}

func (f *benchField) remark(format string, args ...any) {
	f.remarks = append(f.remarks, fmt.Sprintf(format, args...))
}

// hot is how many secrets are used again and again: all of a store that the cache
// holds, 1,000 of a larger one. A row whose name says "any" draws from all of them.
func (s *benchStore) hot() int {
	if s.size > 10000 {
		return 1000
	}
	return s.size
}

func (f *benchField) reads() []benchCase {
	first := f.stores[0]
	cases := []benchCase{
		{"bare", f.bare, f.bare.gets(first.size), ""},
		{"floor", f.floor, f.floor.gets(first.size), "bare"},
	}
	for _, s := range f.stores {
		cases = append(cases, benchCase{s.title("get"), s.benchProcess, s.gets(s.hot()), "floor"},
			benchCase{s.title("describe"), s.benchProcess, s.describes(s.hot()), first.title("describe")},
			benchCase{s.title("list prefix"), s.benchProcess, s.lists(s.size / 100), first.title("list prefix")})
		if s.size > s.hot() {
			cases = append(cases, benchCase{s.title("get any"), s.benchProcess, s.gets(s.size), "floor"},
				benchCase{s.title("describe any"), s.benchProcess, s.describes(s.size), first.title("describe")})
		}
	}
	return cases
}

// writes draws from all secrets of a store: one takes 100 versions a day.
func (f *benchField) writes(conns int) []benchCase {
	cases := []benchCase{{name: "fsync"}}
	if conns == 1 { // with more it would have to share its syncs
		cases = append(cases, benchCase{"synced", f.synced, f.stores[0].puts(f.stores[0].size), "fsync"})
	}
	for _, s := range f.stores {
		cases = append(cases, benchCase{s.title("put"), s.benchProcess, s.puts(s.size), "fsync"},
			benchCase{s.title("create"), s.benchProcess, s.creates(), s.title("put")})
	}
	return cases
}

func (s *benchStore) title(what string) string { return fmt.Sprintf("%s of %d", what, s.size) }

// compare runs all cases in turns.
func (f *benchField) compare(conns int, cases []benchCase) {
	rows := make([]*benchRow, 0, len(cases))
	for _, c := range cases {
		if f.only.MatchString(c.name) || c.name == "floor" {
			rows = append(rows, &benchRow{benchCase: c, conns: conns})
		}
	}
	for range f.rounds {
		for _, row := range rows {
			row.rounds = append(row.rounds, f.once(row))
		}
	}
	f.rows = append(f.rows, rows...)
}

func (f *benchField) once(row *benchRow) benchResult {
	if row.process == nil {
		return benchResult{rate: benchFsync(f.b, f.round)}
	}
	return row.process.drive(row.conns, f.round, row.request)
}

func (f *benchField) report(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "conns\tcase\treq/s\tp50 ms\tp99 ms\tCPU s/1000\tMB\tof\trate ×\tp99 ×\t")
	for _, row := range f.rows {
		rate, p99 := row.median(benchRate), row.median(benchP99)
		fmt.Fprintf(t, "%d\t%s\t%.0f\t%.3f\t%.3f\t%.4f\t%.0f\t%s\t", row.conns, row.name, rate,
			row.median(func(r benchResult) float64 { return r.p50 }), p99,
			row.median(func(r benchResult) float64 { return r.cpu }),
			row.median(func(r benchResult) float64 { return r.rss }), row.base)
		if base := f.find(row.base, row.conns); base != nil {
			fmt.Fprintf(t, "%.2f\t%s\t", rate/base.median(benchRate), ratio(p99, base.median(benchP99)))
		} else {
			fmt.Fprint(t, "\t\t")
		}
		fmt.Fprintln(t)
	}
	_ = t.Flush()
	for _, remark := range f.remarks {
		fmt.Fprintln(w, remark)
	}
	peaks := map[string]float64{}
	for _, s := range f.stores {
		peaks[s.title("peak memory in MB, store")] = s.peak()
	}
	for _, name := range slices.Sorted(maps.Keys(peaks)) {
		fmt.Fprintf(w, "%s: %.0f\n", name, peaks[name])
	}
}

// ratio is empty where there is nothing to compare with.
func ratio(a, b float64) string {
	if b == 0 {
		return ""
	}
	return strconv.FormatFloat(a/b, 'f', 2, 64)
}

func benchRate(r benchResult) float64 { return r.rate }
func benchP99(r benchResult) float64  { return r.p99 }

func (f *benchField) find(name string, conns int) *benchRow {
	for _, row := range f.rows {
		if row.name == name && row.conns == conns {
			return row
		}
	}
	return nil
}

// benchRoot is where everything that is on a disk lives.
func benchRoot(b *testing.B) string { return cmp.Or(os.Getenv("KEYTURN_BENCH_DATA"), b.TempDir()) }

// benchFsync returns how often in a second this disk takes two pages and says
// that they lie there: what a write-ahead log does with each commit.
func benchFsync(b *testing.B, span time.Duration) float64 {
	disk, err := newBenchDisk(benchRoot(b))
	if err != nil {
		b.Fatal(err)
	}
	defer disk.Close()
	count, begin := 0, time.Now()
	for ; time.Since(begin) < span; count++ {
		if err := disk.write(); err != nil {
			b.Fatal(err)
		}
	}
	return float64(count) / time.Since(begin).Seconds()
}

// benchDisk is a file that is written over again and again. It has no name any more.
type benchDisk struct {
	*os.File
	page [8 << 10]byte
	n    int64
}

func newBenchDisk(folder string) (*benchDisk, error) {
	file, err := os.CreateTemp(folder, "fsync-")
	if err != nil {
		return nil, err
	}
	return &benchDisk{File: file}, os.Remove(file.Name())
}

func (d *benchDisk) write() error {
	d.n++
	if _, err := d.WriteAt(d.page[:], d.n%256*int64(len(d.page))); err != nil {
		return err
	}
	return d.Sync()
}

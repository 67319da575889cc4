package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/keyturnapi"
)

var pageStart = time.Date(2026, 1, 31, 4, 0, 0, 0, time.UTC)

// recorded makes records, newest first, of steps that follow each other.
type recorded struct {
	at   time.Time
	runs []keyturnapi.RotationRun
}

func (r *recorded) step(version, kind, step string, attempt int64, took time.Duration, class string) *keyturnapi.RotationRun {
	end := r.at.Add(took)
	run := keyturnapi.RotationRun{VersionID: version, Kind: kind, Step: step, Attempt: attempt, Started: r.at, Ended: &end, Outcome: outcomeSucceeded}
	if class != "" {
		run.Outcome, run.ErrorClass, run.Error = outcomeFailed, class, "logging in to 10.0.0.7:5432 as app: <script>alert(1)</script> & no answer"
	}
	r.at = end
	r.runs = append([]keyturnapi.RotationRun{run}, r.runs...)
	return &r.runs[0]
}

// sampleRuns are a rotation by DualPassword with its retirement, one by
// SingleUser that failed twice and was exposed, and one under way.
func sampleRuns() []keyturnapi.RotationRun {
	r := &recorded{at: pageStart}
	r.step("11111111-dual", "rotation", "createSecret", 1, 12*time.Millisecond, "")
	r.step("11111111-dual", "rotation", "setSecret", 1, 31*time.Millisecond, "").Strategy = "DualPassword"
	r.step("11111111-dual", "rotation", "testSecret", 1, 9*time.Millisecond, "")
	r.step("11111111-dual", "rotation", "finishSecret", 1, 6*time.Millisecond, "")
	r.at = r.at.Add(24 * time.Hour)
	r.step("11111111-dual", "retirement", "retireSecret", 1, 18*time.Millisecond, "")
	r.at = pageStart.Add(30 * 24 * time.Hour)
	r.step("22222222-single", "rotation", "createSecret", 1, 14*time.Millisecond, "")
	r.step("22222222-single", "rotation", "setSecret", 1, 5*time.Second, "timeout")
	r.at = r.at.Add(time.Second)
	r.step("22222222-single", "rotation", "setSecret", 2, 5*time.Second, "timeout")
	r.at = r.at.Add(2 * time.Second)
	r.step("22222222-single", "rotation", "setSecret", 3, 22*time.Millisecond, "").Strategy = "SingleUser"
	r.step("22222222-single", "rotation", "testSecret", 1, 8*time.Millisecond, "")
	exposed := int64(14210)
	r.step("22222222-single", "rotation", "finishSecret", 1, 5*time.Millisecond, "").ExposureMicros = &exposed
	r.at = pageStart.Add(60 * 24 * time.Hour)
	r.step("33333333-now", "rotation", "createSecret", 1, 13*time.Millisecond, "")
	run := r.step("33333333-now", "rotation", "setSecret", 1, time.Second, "")
	run.Ended, run.Outcome = nil, outcomeRunning
	return r.runs
}

func samplePage(t *testing.T) string {
	t.Helper()
	now := pageStart.Add(60*24*time.Hour + 2*time.Second)
	var out bytes.Buffer
	a := &app{stdout: &out, now: func() time.Time { return now }}
	runs := sampleRuns()
	err := a.writePage(timeline{ARN: "arn:aws:secretsmanager:us-east-1:000000000000:secret:prod/db-AbCdEf", Name: "prod/db", Strategy: "SingleUser",
		Next: &keyturnapi.RotationNext{Step: "setSecret", At: now, Attempt: 1}, Rotations: group(runs, now),
		Passwords: &keyturnapi.RotationPasswords{Drift: []string{"previous_live"}}}, "-")
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestTimelinePageNeedsNothing: no resource, no script, and what others wrote
// is text.
func TestTimelinePageNeedsNothing(t *testing.T) {
	page := samplePage(t)
	for _, forbidden := range []string{"<script", "http://", "https://", "src=", "@import", "url("} {
		if strings.Contains(page, forbidden) {
			t.Errorf("the page has %s", forbidden)
		}
	}
	for _, needed := range []string{"exposure 14.2 ms", "ended by retireSecret at 2026-02-01", "&lt;script&gt;", `<th scope="row">retireSecret</th>`, "previous_live"} {
		if !strings.Contains(page, needed) {
			t.Errorf("the page lacks %s", needed)
		}
	}
}

// TestTimelinePageInABrowser lets a real browser lay it out, without a network,
// and asks what it made of it. Width, scheme and picture are for people too:
// KEYTURN_TEST_SCREENSHOTS names a folder for them.
func TestTimelinePageInABrowser(t *testing.T) {
	file := filepath.Join(t.TempDir(), "timeline.html")
	if err := os.WriteFile(file, []byte(samplePage(t)), 0o644); err != nil {
		t.Fatal(err)
	}
	dom := browse(t, "--dump-dom", "file://"+file)
	for what, want := range map[string]int{
		`<svg [^>]*role="img"`: 4, `<desc `: 4, `<rect class="(succeeded|failed|running)"`: 13, `<rect class="exposed"`: 1,
		`<tr><th scope="row">`: 13, `<rect class="old"`: 3, `<rect class="new"`: 2,
	} {
		if got := len(regexp.MustCompile(what).FindAllString(dom, -1)); got != want {
			t.Errorf("the browser sees %d of %s, want %d", got, what, want)
		}
	}
	if dir := os.Getenv("KEYTURN_TEST_SCREENSHOTS"); dir != "" {
		browse(t, "--window-size=1100,1500", "--screenshot="+filepath.Join(dir, "light.png"), "file://"+file)
		browse(t, "--window-size=1100,1500", "--force-dark-mode", "--enable-features=WebContentsForceDark", "--screenshot="+filepath.Join(dir, "dark.png"), "file://"+file)
		browse(t, "--window-size=500,1500", "--screenshot="+filepath.Join(dir, "phone.png"), "file://"+file)
	}
}

func browse(t *testing.T, args ...string) string {
	t.Helper()
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("the tests need chromium: %v", err)
	}
	profile := filepath.Join(t.TempDir(), "profile")
	// A test may run as root, for which there is no sandbox.
	args = append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--hide-scrollbars", "--user-data-dir=" + profile}, args...)
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), browser, args...)
	cmd.Stderr, cmd.Env = &stderr, append(os.Environ(), "HOME="+profile)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	return string(out)
}

// TestTimelinePageOfManyAttempts leaves the middle out of the picture alone.
func TestTimelinePageOfManyAttempts(t *testing.T) {
	r := &recorded{at: pageStart}
	r.step("v", "rotation", "createSecret", 1, time.Millisecond, "")
	for i := range int64(100) {
		r.step("v", "rotation", "setSecret", i+1, time.Second, "tcp")
		r.at = r.at.Add(10 * time.Minute)
	}
	stories := storiesOf(group(r.runs, r.at))
	f := draw(stories[0], "f", nil, r.at)
	if len(f.Bars) != maxDrawn || f.LeftOut != 101-maxDrawn || len(f.Rows) != 101 {
		t.Errorf("%d bars, %d left out, %d rows", len(f.Bars), f.LeftOut, len(f.Rows))
	}
}

// TestTimelineOfAlternatingUsers: each has its own password, which setSecret of the
// other does not end.
func TestTimelineOfAlternatingUsers(t *testing.T) {
	for _, retires := range []bool{false, true} {
		r := &recorded{at: pageStart}
		r.step("v", "rotation", "setSecret", 1, time.Second, "").Strategy = "AlternatingUsers"
		r.step("v", "rotation", "finishSecret", 1, time.Second, "")
		want := "valid until the next rotation, when it is its user's turn"
		if retires {
			r.step("v", "retirement", "retireSecret", 1, time.Second, "")
			want = "ended by retireSecret at " + moment(r.at)
		}
		f := draw(storiesOf(group(r.runs, r.at))[0], "f", nil, r.at)
		if f.Old != want || f.Lives[0].Open == retires {
			t.Errorf("the old password is %s; its life goes on: %v", f.Old, f.Lives[0].Open)
		}
	}
}

func TestMicros(t *testing.T) {
	for n, want := range map[int64]string{0: "0 µs", 999: "999 µs", 14210: "14.2 ms", 1_500_000: "1.5 s", 90_000_000: "90.0 s", 3_661_000_000: "1h1m1s"} {
		if got := micros(n); got != want {
			t.Errorf("micros(%d) = %q, want %q", n, got, want)
		}
	}
}

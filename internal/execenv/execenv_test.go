package execenv

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// file is one file of a deployment package.
type file struct {
	name, text string
	mode       fs.FileMode
}

func pack(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range files {
		h := &zip.FileHeader{Name: f.name, Method: zip.Deflate}
		h.SetMode(f.mode | 0o644)
		w, err := z.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func start(t testing.TB, runtime, handler string, code []byte, changes ...func(*Config)) *Environment {
	t.Helper()
	c := Config{Function: "f", ARN: "arn:aws:lambda:us-east-1:000000000000:function:f", Runtime: runtime, Handler: handler, Code: code,
		Dir: filepath.Join(t.TempDir(), "env"), Memory: 256, Timeout: time.Minute, Log: slog.New(slog.DiscardHandler)}
	for _, change := range changes {
		change(&c)
	}
	e, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	return e
}

const python = `
import os, sys, time, logging
logging.getLogger().setLevel(logging.INFO)
count = 0

def handler(event, context):
    global count
    count += 1
    logging.info("handling %s", event["do"])
    return globals()[event["do"]](event, context)

def about(event, context):
    return {"count": count, "name": context.function_name, "arn": context.invoked_function_arn, "memory": context.memory_limit_in_mb,
            "id": context.aws_request_id, "time": 10000 < context.get_remaining_time_in_millis() <= 60000, "own": os.environ["OWN"],
            "home": os.environ["HOME"].endswith("/tmp"), "secret": os.environ.get("SERVERS_OWN", "hidden")}

def fail(event, context):
    raise KeyError("no such key")

def unserializable(event, context):
    return object()

def sleep(event, context):
    time.sleep(60)

def leave(event, context):
    os._exit(7)

def hoard(event, context):
    hold = []
    while True:
        hold.append(bytearray(8 << 20))
        time.sleep(0.001)
`

const node = `
let count = 0;
exports.handler = async (event, context) => {
  count++;
  console.log("handling", event.do);
  return do_[event.do](event, context);
};
exports.old = (event, context, callback) => { callback(null, "called back"); };
const do_ = {
  about: (event, context) => ({ count, name: context.functionName, arn: context.invokedFunctionArn, memory: context.memoryLimitInMB,
    id: context.awsRequestId, time: context.getRemainingTimeInMillis() > 10000, own: process.env.OWN,
    home: process.env.HOME.endsWith("/tmp"), secret: process.env.SERVERS_OWN ?? "hidden" }),
  fail: () => { throw new RangeError("no such key"); },
  sleep: () => new Promise((resolve) => setTimeout(resolve, 60000)),
  leave: () => process.exit(7),
  hoard: async () => { const hold = []; for (;;) { hold.push(Buffer.alloc(8 << 20, 1)); await new Promise((r) => setTimeout(r, 1)); } },
};
`

// The two interpreters answer alike.
func TestInterpreters(t *testing.T) {
	t.Setenv("SERVERS_OWN", "must not be seen")
	for _, tc := range []struct{ runtime, file, text, errorType, errorMessage string }{
		{"python3.12", "index.py", python, "KeyError", "'no such key'"},
		{"nodejs22.x", "index.js", node, "RangeError", "no such key"},
	} {
		t.Run(tc.runtime, func(t *testing.T) {
			t.Parallel()
			code := pack(t, file{name: tc.file, text: tc.text})
			own := func(c *Config) { c.Variables = []string{"OWN=mine", "HOME=elsewhere"} }
			e := start(t, tc.runtime, "index.handler", code, own)
			for i := range 2 { // one process handles both
				want := fmt.Sprintf(`{"arn":"arn:aws:lambda:us-east-1:000000000000:function:f","count":%d,"home":true,"id":"id-%d","memory":"256","name":"f","own":"mine","secret":"hidden","time":true}`, i+1, i)
				got, tail := invoke(t, e, fmt.Sprintf("id-%d", i), "about", nil)
				if got != want || !strings.Contains(tail, "handling") {
					t.Errorf("got  %s\nwant %s\nprinted %s", got, want, tail)
				}
			}
			_, tail := invoke(t, e, "id", "fail", &Failure{Type: tc.errorType, Message: tc.errorMessage})
			if !strings.Contains(tail, tc.errorType) || !e.Alive() {
				t.Errorf("printed %s", tail)
			}
			invoke(t, e, "id", "leave", &Failure{Type: "Runtime.ExitError", Message: "RequestId: id Error: Runtime exited with error: exit status 7"})
			if e.Alive() {
				t.Error("the process lives on")
			}
			short := start(t, tc.runtime, "index.handler", code, own, func(c *Config) { c.Timeout = 200 * time.Millisecond })
			invoke(t, short, "id", "sleep", &Failure{Type: "Sandbox.Timedout", Message: "RequestId: id Error: Task timed out after 0.20 seconds"})
			if short.Alive() {
				t.Error("an environment whose process is being ended takes another event")
			}
			greedy := start(t, tc.runtime, "index.handler", code, own)
			invoke(t, greedy, "id", "hoard", &Failure{Type: "Runtime.OutOfMemory", Message: "RequestId: id Error: Runtime exited with error: signal: killed"})
		})
	}
}

// invoke compares the failure, and returns the answer with sorted keys.
func invoke(t *testing.T, e *Environment, id, do string, want *Failure) (payload, tail string) {
	t.Helper()
	got, printed, err := e.Invoke(t.Context(), id, []byte(`{"do":"`+do+`"}`))
	f, _ := errors.AsType[*Failure](err)
	if want != nil && (f == nil || f.Type != want.Type || f.Message != want.Message) {
		t.Errorf("%s: got %v, %+v, want %+v", do, err, f, want)
	}
	if want != nil {
		return "", string(printed)
	}
	if err != nil {
		t.Fatalf("%s: %v\n%s", do, err, printed)
	}
	var v any
	if err := json.Unmarshal(got, &v); err != nil {
		t.Fatal(err)
	}
	sorted, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(sorted), string(printed)
}

func TestFailuresToStart(t *testing.T) {
	for _, tc := range []struct{ name, runtime, handler, file, text, errorType, message string }{
		{"NoModule", "python3.12", "other.handler", "index.py", "", "Runtime.ImportModuleError", "Unable to import module 'other': No module named 'other'"},
		{"NoHandler", "python3.12", "index.other", "index.py", "", "Runtime.HandlerNotFound", "Handler 'other' missing on module 'index'"},
		{"Malformed", "python3.12", "index", "index.py", "", "Runtime.MalformedHandlerName", "Bad handler 'index': not enough values to unpack (expected 2, got 1)"},
		{"Syntax", "python3.12", "index.handler", "index.py", "def", "Runtime.UserCodeSyntaxError", "Syntax error in module 'index': invalid syntax (index.py, line 1)"},
		{"Raises", "python3.12", "index.handler", "index.py", "1/0", "ZeroDivisionError", "division by zero"},
		{"Marshal", "python3.12", "index.handler", "index.py", python, "Runtime.MarshalError", "Unable to marshal response: Object of type object is not JSON serializable"},
		{"NodeNoModule", "nodejs22.x", "other.handler", "index.js", "", "Runtime.ImportModuleError", "Error: Cannot find module 'other'"},
		{"NodeNoHandler", "nodejs22.x", "index.other", "index.mjs", "", "Runtime.HandlerNotFound", "index.other is undefined or not exported"},
		{"Exit", "provided.al2023", "x", "bootstrap", "#!/bin/sh\nexit 3\n", "Runtime.ExitError", "RequestId: id Error: Runtime exited with error: exit status 3"},
		{"Leaves", "provided.al2023", "x", "bootstrap", "#!/bin/sh\n", "Runtime.ExitError", "RequestId: id Error: Runtime exited without providing a reason"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			e := start(t, tc.runtime, tc.handler, pack(t, file{tc.file, tc.text, 0o755}), func(c *Config) { c.Variables = []string{"OWN="} })
			invoke(t, e, "id", "unserializable", &Failure{Type: tc.errorType, Message: tc.message})
		})
	}
}

// The program that could not be run is named.
func TestProgramThatDoesNotRun(t *testing.T) {
	for text, want := range map[string]string{
		"#!/no/such\n": "exit status 127 (%s was not found)",
		"#!/etc\n":     "exit status 126 (the user who runs functions may not execute %s, or enter a folder above it)",
	} {
		var dir string
		e := start(t, "provided.al2023", "x", pack(t, file{"bootstrap", text, 0o755}), func(c *Config) { dir = c.Dir })
		want = fmt.Sprintf("RequestId: id Error: Runtime exited with error: "+want, filepath.Join(dir, "task", "bootstrap"))
		invoke(t, e, "id", "nothing", &Failure{Type: "Runtime.ExitError", Message: want})
	}
}

const nodeEnds = `
const do_ = {
  lost: () => { Promise.reject(new Error("nobody waits")); return new Promise((r) => setTimeout(r, 5000)); },
  later: () => { setTimeout(() => { throw new TypeError("too late"); }, 1); return new Promise((r) => setTimeout(r, 5000)); },
  never: () => new Promise(() => {}),
  rethrown: async () => { throw new RangeError("thrown"); },
};
exports.handler = async (event) => do_[event.do]();
exports.silent = (event, context, callback) => {};
`

// An error that nobody caught is the invocation's, in the words of Lambda's own client.
func TestNodeEnds(t *testing.T) {
	code := pack(t, file{name: "index.js", text: nodeEnds})
	for do, tc := range map[string]struct {
		errorType, message string
		lives              bool
	}{
		"lost":     {"Runtime.UnhandledPromiseRejection", "Error: nobody waits", false},
		"later":    {"TypeError", "too late", false},
		"never":    {"Runtime.NodeJsExit", "The Lambda runtime client detected an unexpected Node.js exit code. This is most commonly caused by a Promise that was never settled.", true},
		"rethrown": {"RangeError", "thrown", true},
	} {
		t.Run(do, func(t *testing.T) {
			t.Parallel()
			e := start(t, "nodejs22.x", "index.handler", code)
			invoke(t, e, "id", do, &Failure{Type: tc.errorType, Message: tc.message})
			if tc.lives {
				invoke(t, e, "again", "rethrown", &Failure{Type: "RangeError", Message: "thrown"})
			}
		})
	}
	t.Run("callback", func(t *testing.T) {
		t.Parallel()
		e := start(t, "nodejs22.x", "index.silent", code)
		for _, id := range []string{"one", "two"} {
			if got, _ := invoke(t, e, id, "", nil); got != "null" {
				t.Errorf("got %s", got)
			}
		}
	})
}

func TestNoEntry(t *testing.T) {
	for _, tc := range []struct {
		name, runtime, want string
		file                file
	}{
		{"Missing", "provided.al2023", "Error: fork/exec /var/task/bootstrap: no such file or directory", file{name: "other"}},
		{"NoProgram", "provided.al2", "Error: fork/exec /var/task/bootstrap: permission denied", file{name: "bootstrap"}},
		{"Unknown", "java21", "Error: fork/exec runtime java21: not supported", file{name: "bootstrap"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "env")
			_, err := Start(Config{Runtime: tc.runtime, Dir: dir, Code: pack(t, tc.file), Log: slog.New(slog.DiscardHandler)})
			f, ok := errors.AsType[*Failure](err)
			if !ok || f.Type != "Runtime.InvalidEntrypoint" || f.Message != tc.want {
				t.Errorf("got %v", err)
			}
			if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the folder is left: %v", err)
			}
		})
	}
}

// A process is frozen between events, and ends with all that it started.
func TestProcessGroup(t *testing.T) {
	t.Parallel()
	const parent = `
import os, subprocess
def handler(event, context):
    child = subprocess.Popen(["sleep", "300"])
    return [os.getpid(), child.pid]
`
	e := start(t, "python3.12", "index.handler", pack(t, file{name: "index.py", text: parent}))
	payload, _ := invoke(t, e, "id", "x", nil)
	var pids []int
	if err := json.Unmarshal([]byte(payload), &pids); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		waitState(t, pid, "T")
	}
	e.Stop()
	for _, pid := range pids {
		waitState(t, pid, "", "Z")
	}
}

// A process ends with this program even if that is killed.
func TestKilledProgram(t *testing.T) {
	if os.Getenv("KEYTURN_EXECENV_HELPER") != "" {
		e := start(t, "python3.12", "index.handler", pack(t, file{name: "index.py", text: "import os\ndef handler(event, context):\n    return os.getpid()\n"}))
		payload, _ := invoke(t, e, "id", "x", nil)
		fmt.Println(payload)
		select {} // until it is killed
	}
	t.Parallel()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledProgram$")
	cmd.Env = append(os.Environ(), "KEYTURN_EXECENV_HELPER=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	_, err = fmt.Fscanln(out, &pid)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if err != nil {
		t.Fatalf("reading the function's process id: %v", err)
	}
	waitState(t, pid, "", "Z")
}

// state is the third member of proc(5), stat; "" where there is no such process.
func state(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	return strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))[0]
}

// waitState waits until a process is in one of the states: the kernel delivers
// signals in its own time.
func waitState(t *testing.T, pid int, want ...string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if slices.Contains(want, state(pid)) {
			return
		}
	}
	t.Errorf("process %d is in state %q, want %q", pid, state(pid), want)
}

// A caller who goes away ends the process: nobody knows what it is doing.
func TestCancel(t *testing.T) {
	t.Parallel()
	e := start(t, "python3.12", "index.handler", pack(t, file{name: "index.py", text: python}), func(c *Config) { c.Variables = []string{"OWN="} })
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, _, err := e.Invoke(ctx, "id", []byte(`{"do":"sleep"}`)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	<-e.process.exited
}

// As root, a function runs as another user, who can't read what is the server's.
func TestOtherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("not root: there is no other user to run functions as")
		return
	}
	dir, err := os.MkdirTemp("", "keyturn-execenv-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := errors.Join(os.Chmod(dir, 0o711), os.WriteFile(filepath.Join(dir, "root.key"), []byte("key"), 0o600)); err != nil {
		t.Fatal(err)
	}
	const bootstrap = "#!/bin/sh\nid -u\ncat \"$KEY\" 2>&1\ntouch \"$HOME/own\" && echo may write\ntouch \"$LAMBDA_TASK_ROOT/x\" 2>/dev/null || echo may not change the code\nexit 1\n"
	e := start(t, "provided.al2023", "x", pack(t, file{"bootstrap", bootstrap, 0o755}), func(c *Config) {
		c.Dir, c.User, c.Variables = filepath.Join(dir, "env"), User{UID: 65534, GID: 65534, Other: true}, []string{"KEY=" + filepath.Join(dir, "root.key")}
	})
	_, tail, _ := e.Invoke(t.Context(), "id", []byte("{}"))
	for _, want := range []string{"65534\n", "Permission denied", "may write", "may not change the code"} {
		if !strings.Contains(string(tail), want) {
			t.Errorf("printed %s, want %s", tail, want)
		}
	}
}

func TestUnpackStaysInside(t *testing.T) {
	for name, files := range map[string][]file{
		"Parent":   {{name: "../outside", text: "x"}},
		"Absolute": {{name: "/outside", text: "x"}},
		"ByLink":   {{name: "link", text: "..", mode: fs.ModeSymlink | 0o777}, {name: "link/outside", text: "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			outer := t.TempDir()
			dir := filepath.Join(outer, "in")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := Unpack(pack(t, files...), dir); err == nil {
				t.Error("unpacked")
			}
			if _, err := os.Stat(filepath.Join(outer, "outside")); err == nil {
				t.Error("a file was written outside")
			}
		})
	}
	for name, tc := range map[string]struct {
		code []byte
		want error
	}{"NotZip": {[]byte("no zip"), ErrNotZip}, "Empty": {pack(t), ErrEmpty}, "OK": {pack(t, file{name: "a/b.py"}), nil}} {
		if err := Check(tc.code); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever a zip holds, what is unpacked lies inside.
func FuzzUnpack(f *testing.F) {
	f.Add(pack(f, file{name: "a.py", text: "x"}))
	f.Add(pack(f, file{name: "../a.py", text: "x"}))
	f.Add(pack(f, file{name: "l", text: "../..", mode: fs.ModeSymlink | 0o777}, file{name: "l/a", text: "x"}))
	f.Fuzz(func(t *testing.T, code []byte) {
		outer := t.TempDir()
		dir := filepath.Join(outer, "in")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		_ = Unpack(code, dir)
		if entries, err := os.ReadDir(outer); err != nil || len(entries) != 1 {
			t.Errorf("%v, %v", entries, err)
		}
	})
}

// What a process prints is bounded, and goes to the log at level debug only.
func TestOutput(t *testing.T) {
	t.Parallel()
	const chatty = "def handler(event, context):\n    for i in range(8000):\n        print('line', i)\n"
	var log bytes.Buffer
	e := start(t, "python3.12", "index.handler", pack(t, file{name: "index.py", text: chatty}), func(c *Config) {
		c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	_, tail := invoke(t, e, "id", "x", nil)
	if !strings.HasSuffix(tail, "line 7999\n") || len(tail) > maxTail {
		t.Errorf("the tail is %d bytes: %q", len(tail), tail[max(0, len(tail)-40):])
	}
	if text := log.String(); !strings.Contains(text, `level=DEBUG msg="a function printed" function=f requestId=id text="line 0"`) || strings.Contains(text, "line 7999") {
		t.Errorf("the log has %d bytes", log.Len())
	}
	if strings.Contains(log.String(), "level=INFO") {
		t.Error("the log has lines above debug")
	}
}

// A line that is longer than what is kept is logged as far as it is kept.
func TestOutputOfOneLongLine(t *testing.T) {
	var log bytes.Buffer
	o, err := openOutput(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer o.close()
	if _, err := o.file.WriteString(strings.Repeat("x", maxLogged+1)); err != nil {
		t.Fatal(err)
	}
	_, printed := o.take()
	o.log(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), "f", "id", printed)
	if n := strings.Count(log.String(), "x"); n < maxLogged {
		t.Errorf("%d characters are in the log, want %d", n, maxLogged)
	}
}

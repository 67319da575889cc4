package lambdaapi_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/keyturntest"
)

// What ended before an event came, by its own timeout or by somebody else's hand, is
// no failure of that event.
func TestEndedProcessesTakeNoEvents(t *testing.T) {
	s := keyturntest.NewServer(t, func(c *keyturn.Config) { c.Data = keyturn.InMemory }, asSelf)
	in := python(t, "f")
	in.Timeout = aws.Int32(1)
	in.Code.ZipFile = pack(t, "index.py", "import os, time\ndef handler(event, context):\n    time.sleep(event)\n    return os.getpid()\n")
	if _, err := s.Lambda.CreateFunction(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		call(t, s.Lambda, "f", "9")
		first := pidOf(t, call(t, s.Lambda, "f", "0"))
		if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for gone := filepath.Join("/proc", strconv.Itoa(first)); exists(gone); {
			time.Sleep(time.Millisecond)
		}
		pidOf(t, call(t, s.Lambda, "f", "0"))
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func pidOf(t *testing.T, answer string) (pid int) {
	t.Helper()
	if _, err := fmt.Sscan(answer, &pid); err != nil {
		t.Fatalf("the function answered %s", answer)
	}
	return pid
}

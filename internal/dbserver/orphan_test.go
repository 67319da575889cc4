package dbserver_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/dbserver"
)

// holdServer is what the killed keyturn does.
func holdServer() {
	port, _ := strconv.Atoi(os.Getenv("KEYTURN_TEST_HELPER_PORT"))
	binary, err := dbserver.Find(dbserver.Product(os.Getenv("KEYTURN_TEST_HELPER_PRODUCT")))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	s, err := dbserver.New(dbserver.Config{Binary: binary, Dir: os.Getenv(helperFolder), Port: port, AdminPassword: adminPassword})
	if err == nil {
		err = s.Init(context.Background(), setup)
	}
	if err == nil {
		err = s.Start(context.Background())
	}
	fmt.Println("started:", err)
	select {}
}

func helper(t *testing.T, c dbserver.Config) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperFolder+"="+c.Dir,
		"KEYTURN_TEST_HELPER_PORT="+strconv.Itoa(c.Port), "KEYTURN_TEST_HELPER_PRODUCT="+string(c.Binary.Product))
	return cmd
}

// TestKeyturnKilled kills the process that started a server: the next one takes
// the server over, and stops it.
func TestKeyturnKilled(t *testing.T) {
	eachProduct(t, func(t *testing.T, c dbserver.Config) {
		first := helper(t, c)
		out, err := first.StdoutPipe()
		check(t, err)
		check(t, first.Start())
		line := make([]byte, 200)
		n, err := out.Read(line)
		check(t, err)
		if string(line[:n]) != "started: <nil>\n" {
			t.Fatalf("helper: %s", line[:n])
		}
		check(t, first.Process.Kill())
		_ = first.Wait() // it was killed
		pid := notedPID(t, c)
		if err := syscall.Kill(pid, 0); err != nil {
			t.Fatalf("the server died with keyturn: %v", err)
		}
		s := newServer(t, c)
		check(t, s.Start(within(t)))
		if notedPID(t, c) != pid {
			t.Error("the server was started anew instead of taken over")
		}
		check(t, login(t, c, "admin", masterPassword))
		check(t, syscall.Kill(pid, syscall.SIGKILL)) // its end is noticed, though it is no child
		<-s.Done()
		check(t, s.Start(within(t)))
		check(t, login(t, c, "admin", masterPassword))
		c.Port = freePort(t) // other arguments: the old process must go
		moved := newServer(t, c)
		check(t, moved.Start(within(t)))
		check(t, login(t, c, "admin", masterPassword))
		check(t, moved.Stop(within(t)))
	})
}

// TestKeyturnKilledEarly kills it at moments of initialisation and start.
func TestKeyturnKilledEarly(t *testing.T) {
	eachProduct(t, func(t *testing.T, c dbserver.Config) {
		for _, after := range []time.Duration{60 * time.Millisecond, 300 * time.Millisecond, 700 * time.Millisecond, 1200 * time.Millisecond, 2500 * time.Millisecond} {
			first := helper(t, c)
			check(t, first.Start())
			time.Sleep(after)
			check(t, first.Process.Kill())
			_ = first.Wait() // it was killed
		}
		s := newServer(t, c)
		check(t, s.Init(within(t), setup))
		check(t, s.Start(within(t)))
		check(t, login(t, c, "admin", masterPassword))
	})
}

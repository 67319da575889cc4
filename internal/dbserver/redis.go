package dbserver

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// redisEngine runs redis-server or valkey-server. Users and their passwords are
// in an ACL file, as hashes.
type redisEngine struct{}

// SIGTERM lets the server write what it has not written yet.
func (redisEngine) stopSignal() syscall.Signal { return syscall.SIGTERM }

// clear has nothing to do: a killed server leaves complete files.
func (redisEngine) clear(Config, int) error { return nil }

const aclFile = "users.acl"

func (redisEngine) arguments(c Config, data string) []string {
	return []string{
		"--bind", Host, "--port", fmt.Sprint(c.Port), "--dir", data,
		"--aclfile", filepath.Join(data, aclFile), "--pidfile", filepath.Join(c.Dir, pidFile),
		"--appendonly", "yes", "--daemonize", "no",
		"--set-proc-title", "no", // a process that is taken over is known by its arguments
	}
}

// initialise writes the ACL file; the rest the server makes itself. The user
// default, who needs no password at first, is off. There are no databases to
// make: they have numbers.
func (redisEngine) initialise(_ context.Context, in *installation, setup Setup) error {
	lines := "user default off\n"
	for user, password := range map[string]Password{Admin: in.config.AdminPassword, setup.MasterUser: setup.MasterPassword} {
		lines += fmt.Sprintf("user %s on #%s ~* &* +@all\n", user, sha256Hash(password))
	}
	path := filepath.Join(in.folder, aclFile)
	if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
		return fmt.Errorf("writing the ACL file: %w", err)
	}
	if err := os.Chown(path, in.user.uid, in.user.gid); err != nil {
		return fmt.Errorf("giving the ACL file to the server's user: %w", err)
	}
	return nil
}

// login asks for more than AUTH, which is answered while the server still reads its
// data, before it takes other commands.
func (redisEngine) login(ctx context.Context, c Config) error {
	return redisCommands(ctx, c, []string{"PING"})
}

func (redisEngine) setPassword(ctx context.Context, c Config, user string, next Password) error {
	return redisCommands(ctx, c, []string{"ACL", "SETUSER", user, "resetpass", "#" + sha256Hash(next)}, []string{"ACL", "SAVE"})
}

func sha256Hash(password Password) string {
	sum := sha256.Sum256([]byte(password))
	return hex.EncodeToString(sum[:])
}

// redisCommands logs in as the administrator and runs commands that each answer
// with one line, until one is refused.
func redisCommands(ctx context.Context, c Config, commands ...[]string) error {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", address(c.Port))
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	answers := bufio.NewReader(conn)
	for _, command := range append([][]string{{"AUTH", Admin, string(c.AdminPassword)}}, commands...) {
		if _, err := conn.Write(redisRequest(command)); err != nil {
			return err
		}
		line, err := answers.ReadString('\n')
		if err != nil {
			return err
		}
		if code, refused := strings.CutPrefix(line, "-"); refused {
			code, _, _ = strings.Cut(code, " ") // the rest may quote an argument
			return errors.New("the database server refused a command: " + code)
		}
	}
	return nil
}

// redisRequest is a command in RESP, the protocol of Redis.
func redisRequest(command []string) []byte {
	request := fmt.Appendf(nil, "*%d\r\n", len(command))
	for _, arg := range command {
		request = fmt.Appendf(request, "$%d\r\n%s\r\n", len(arg), arg)
	}
	return request
}

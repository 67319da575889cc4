package rdsapi

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// host is where a database really runs: a process of ours, or a server
// elsewhere.
type host interface {
	// Start returns when the master user can log in. It may be called again
	// after an error, and when Done has ended.
	Start(ctx context.Context) error
	// Done is closed when the server has ended; it is nil where nobody knows.
	Done() <-chan struct{}
	// Stop ends the server in good order, and does nothing if none runs.
	Stop(ctx context.Context) error
	// Remove deletes the data. The server was stopped before.
	Remove() error
}

// startTime bounds one try: making a data folder, recovery after a crash.
const startTime = 5 * time.Minute

// processHost runs a server of ours.
type processHost struct {
	*dbserver.Server
	setup   dbserver.Setup // no password: the folder must be there
	missing error          // why there is no program to start
}

// errDataGone: only an initialised database lacks its master password.
var errDataGone = errors.New("the data folder is missing and cannot be made anew: restore it, or delete the DB instance")

func (h *processHost) Start(ctx context.Context) error {
	if h.missing != nil {
		return h.missing
	}
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if !h.Initialised() {
		if h.setup.MasterPassword == "" {
			return errDataGone
		}
		if err := h.Init(ctx, h.setup); err != nil {
			return err
		}
	}
	return h.Server.Start(ctx)
}

// probeTime bounds one look at an adopted server.
const probeTime = 15 * time.Second

// adoptedHost is a server that somebody else runs.
type adoptedHost struct{ login dbserver.Login }

// Start looks whether the server takes the master login. Without a password
// this was seen to work before, and the password may have been rotated since.
func (h *adoptedHost) Start(ctx context.Context) error {
	if h.login.Password == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	return dbserver.Probe(ctx, h.login)
}

func (*adoptedHost) Done() <-chan struct{}      { return nil }
func (*adoptedHost) Stop(context.Context) error { return nil }
func (*adoptedHost) Remove() error              { return nil }

// hostOf opens the passwords of a database and returns its host.
func (s *Service) hostOf(ctx context.Context, owner string) (host, error) {
	var d *database
	err := s.config.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
		d, err = findDatabase(ctx, tx, owner)
		return err
	})
	if err != nil {
		return nil, err
	}
	master, err := s.unseal(ctx, d.sealedMaster, owner, d.masterUser)
	if err != nil {
		return nil, err
	}
	if d.adopted() {
		return &adoptedHost{dbserver.Login{Product: d.product, Host: d.host, Port: d.port, User: d.masterUser, Password: master}}, nil
	}
	admin, err := s.unseal(ctx, d.sealedAdmin, owner, dbserver.Admin)
	if err != nil {
		return nil, err
	}
	return s.processOf(d, admin, master)
}

func (s *Service) processOf(d *database, admin, master dbserver.Password) (host, error) {
	binary, missing := dbserver.Find(d.product)
	binary.Product = d.product // enough to stop and to remove
	server, err := dbserver.New(dbserver.Config{Binary: binary, Dir: filepath.Join(s.config.Dir, d.folder), Port: d.port, AdminPassword: admin})
	if err != nil {
		return nil, err
	}
	setup := dbserver.Setup{MasterUser: d.masterUser, MasterPassword: master, Database: d.initial}
	return &processHost{Server: server, setup: setup, missing: missing}, nil
}

// statusOf names the state that RDS has for a server that cannot be brought up.
func statusOf(err error, h host) string {
	_, adopted := h.(*adoptedHost)
	switch {
	case errors.Is(err, dbserver.ErrLoginRefused):
		return incompatibleAccount
	case adopted, errors.Is(err, dbserver.ErrPortTaken):
		return badNetwork
	case errors.Is(err, syscall.ENOSPC), strings.Contains(err.Error(), "No space left on device"):
		return storageFull
	}
	return failed
}

const maxReason = 2000

// reasonOf is what a caller may see of it: where a server lives and what it
// logged, never a password.
func reasonOf(err error) string {
	text := fmt.Sprint(err)
	return text[:min(len(text), maxReason)]
}

package rdsapi

import (
	"context"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// elsewhere starts a server on another port, if nobody asked for the one that it has and
// it was never available there. CreateDBCluster tells a port that is free at that
// moment; the server comes up with the first instance, and by then another process
// may listen there. It returns refused where nothing else is to be done.
func (t *tender) elsewhere(ctx context.Context, h host, refused error) (host, error) {
	moved, err := t.service.move(ctx, t.owner)
	if err != nil || !moved {
		return h, refused
	}
	t.service.config.Log.Warn("another process took the port of a new database, which gets another one", "owner", t.owner, "error", refused)
	if h, err = t.service.hostOf(ctx, t.owner); err != nil {
		return nil, err
	}
	return h, h.Start(ctx)
}

// move gives a database that was never available another port, unless somebody asked
// for the one that it has.
func (s *Service) move(ctx context.Context, owner string) (moved bool, err error) {
	s.choosing.Lock()
	defer s.choosing.Unlock()
	ports, _, err := s.taken(ctx)
	if err != nil {
		return false, err
	}
	port, err := dbserver.FreePort(func(port int) bool { return ports[port] })
	if err != nil {
		return false, err
	}
	err = s.config.DB.Write(ctx, func(tx *sqldb.Tx) error {
		done, err := tx.Exec(ctx, `UPDATE databases SET port = $1 WHERE owner = $2 AND any_port AND master_password <> ''`, port, owner)
		if err != nil {
			return err
		}
		n, err := done.RowsAffected()
		if moved = n > 0; err != nil || !moved {
			return err
		}
		return showPort(ctx, tx, owner, int32(port)) //nolint:gosec // at most 65535
	})
	return moved, err
}

// showPort puts a port into what is shown of a cluster and its instances, or of an
// instance without one.
func showPort(ctx context.Context, tx *sqldb.Tx, owner string, port int32) error {
	if !isInstance(owner) {
		c, err := findCluster(ctx, tx, owner)
		if err != nil {
			return err
		}
		c.shown.Port = &port
		if err := updateCluster(ctx, tx, c); err != nil {
			return err
		}
	}
	all, err := instances(ctx, tx, owner, "")
	if err != nil {
		return err
	}
	for _, i := range all {
		i.shown.Endpoint.Port = &port
		if err := updateInstance(ctx, tx, i); err != nil {
			return err
		}
	}
	return nil
}

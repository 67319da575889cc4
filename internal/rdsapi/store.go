package rdsapi

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/envelope"
	"github.com/keyturn/keyturn/internal/sqldb"
)

// Schema is the tables of clusters, instances and the databases behind them.
// shown holds a types.DBCluster or types.DBInstance as JSON: what was asked for
// and never changes by itself. What changes has columns of its own.
var Schema = sqldb.Schema{Name: "rds", Steps: []string{`
CREATE TABLE db_clusters (
	arn    TEXT PRIMARY KEY,
	status TEXT NOT NULL,
	shown  TEXT NOT NULL
);
CREATE TABLE db_instances (
	arn     TEXT PRIMARY KEY,
	owner   TEXT NOT NULL, -- the cluster's ARN, or its own where it has no cluster
	created BIGINT NOT NULL,
	status  TEXT NOT NULL,
	reason  TEXT NOT NULL, -- of a status that is no good
	shown   TEXT NOT NULL
);
CREATE INDEX db_instances_by_owner ON db_instances (owner);
CREATE TABLE databases (
	owner       TEXT PRIMARY KEY, -- ARN of a cluster, or of an instance without one
	folder      TEXT NOT NULL,    -- under Config.Dir; empty: adopted
	product     TEXT NOT NULL,
	host        TEXT NOT NULL,
	port        BIGINT NOT NULL,
	master_user TEXT NOT NULL,
	initial     TEXT NOT NULL,    -- name of the first database; may be empty
	admin_password  TEXT NOT NULL,    -- sealed; empty: adopted
	master_password TEXT NOT NULL     -- sealed; empty once it has served
);
CREATE UNIQUE INDEX databases_by_folder ON databases (folder) WHERE folder <> '';
CREATE UNIQUE INDEX databases_by_port ON databases (port) WHERE folder <> ''`,
	// any_port: 1 if nobody asked for the port
	`ALTER TABLE databases ADD COLUMN any_port BIGINT NOT NULL DEFAULT 0`,
}}

// database is where the data of a cluster, or of an instance without a cluster,
// lives.
type database struct {
	owner      string
	folder     string // empty: adopted
	product    dbserver.Product
	host       string
	port       int
	anyPort    bool // nobody asked for this one
	masterUser string
	initial    string

	sealedAdmin, sealedMaster string // see seal; empty: none
}

func (d *database) adopted() bool { return d.folder == "" }

// seal encrypts a password for its account of its database.
func (s *Service) seal(ctx context.Context, password dbserver.Password, owner, account string) (string, error) {
	sealed, err := s.config.Keys.Seal(ctx, []byte(password), owner+" "+account)
	if err != nil {
		return "", fmt.Errorf("sealing the password of %s: %w", account, err)
	}
	text, err := json.Marshal(sealed)
	return string(text), err
}

func (s *Service) unseal(ctx context.Context, text, owner, account string) (dbserver.Password, error) {
	if text == "" {
		return "", nil
	}
	var sealed envelope.Sealed
	if err := json.Unmarshal([]byte(text), &sealed); err != nil {
		return "", fmt.Errorf("reading the sealed password of %s: %w", account, err)
	}
	plain, err := s.config.Keys.Open(ctx, sealed, owner+" "+account)
	if err != nil {
		return "", fmt.Errorf("opening the password of %s: %w", account, err)
	}
	return dbserver.Password(plain), nil
}

const databaseColumns = `owner, folder, product, host, port, master_user, initial, admin_password, master_password, any_port`

func insertDatabase(ctx context.Context, tx *sqldb.Tx, d *database) error {
	_, err := tx.Exec(ctx, `INSERT INTO databases (`+databaseColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		d.owner, d.folder, d.product, d.host, d.port, d.masterUser, d.initial, d.sealedAdmin, d.sealedMaster, d.anyPort)
	return err
}

func findDatabase(ctx context.Context, tx *sqldb.Tx, owner string) (*database, error) {
	d := &database{}
	err := tx.QueryRow(ctx, `SELECT `+databaseColumns+` FROM databases WHERE owner = $1`, owner).
		Scan(&d.owner, &d.folder, &d.product, &d.host, &d.port, &d.masterUser, &d.initial, &d.sealedAdmin, &d.sealedMaster, &d.anyPort)
	if err != nil {
		return nil, fmt.Errorf("reading the database of %s: %w", owner, err)
	}
	return d, nil
}

func setMaster(ctx context.Context, tx *sqldb.Tx, owner, sealed string) error {
	_, err := tx.Exec(ctx, `UPDATE databases SET master_password = $1 WHERE owner = $2`, sealed, owner)
	return err
}

// taken returns the ports and folders that databases claim.
func (s *Service) taken(ctx context.Context) (ports map[int]bool, folders map[string]bool, err error) {
	ports, folders = map[int]bool{}, map[string]bool{}
	err = s.config.DB.Read(ctx, func(tx *sqldb.Tx) error {
		rows, err := tx.Query(ctx, `SELECT port, folder FROM databases WHERE folder <> ''`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var port int
			var folder string
			if err := rows.Scan(&port, &folder); err != nil {
				return err
			}
			ports[port], folders[folder] = true, true
		}
		return rows.Err()
	})
	return ports, folders, err
}

// clusterRow and instanceRow are what the tables hold.
type clusterRow struct {
	arn, status string
	shown       types.DBCluster
}

type instanceRow struct {
	arn, owner     string
	created        int64
	status, reason string
	shown          types.DBInstance
}

func insertCluster(ctx context.Context, tx *sqldb.Tx, c *clusterRow) error {
	shown, err := json.Marshal(c.shown)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO db_clusters (arn, status, shown) VALUES ($1, $2, $3)`, c.arn, c.status, string(shown))
	if sqldb.IsUnique(err) {
		return ErrClusterExists.Errorf("DB Cluster already exists")
	}
	return err
}

func updateCluster(ctx context.Context, tx *sqldb.Tx, c *clusterRow) error {
	shown, err := json.Marshal(c.shown)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE db_clusters SET status = $1, shown = $2 WHERE arn = $3`, c.status, string(shown), c.arn)
	return err
}

func deleteClusterRow(ctx context.Context, tx *sqldb.Tx, arn string) error {
	if _, err := tx.Exec(ctx, `DELETE FROM databases WHERE owner = $1`, arn); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `DELETE FROM db_clusters WHERE arn = $1`, arn)
	return err
}

func findCluster(ctx context.Context, tx *sqldb.Tx, arn string) (*clusterRow, error) {
	c := &clusterRow{arn: arn}
	var shown string
	err := tx.QueryRow(ctx, `SELECT status, shown FROM db_clusters WHERE arn = $1`, arn).Scan(&c.status, &shown)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, clusterNotFound(arn)
	}
	if err != nil {
		return nil, err
	}
	return c, json.Unmarshal([]byte(shown), &c.shown)
}

// allClusters returns the clusters whose ARNs begin with prefix, by identifier.
func allClusters(ctx context.Context, tx *sqldb.Tx, prefix string) ([]*clusterRow, error) {
	rows, err := tx.Query(ctx, `SELECT arn, status, shown FROM db_clusters ORDER BY arn`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []*clusterRow
	for rows.Next() {
		c := &clusterRow{}
		var shown string
		if err := rows.Scan(&c.arn, &c.status, &shown); err != nil {
			return nil, err
		}
		if !strings.HasPrefix(c.arn, prefix) {
			continue
		}
		if err := json.Unmarshal([]byte(shown), &c.shown); err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, rows.Err()
}

func insertInstance(ctx context.Context, tx *sqldb.Tx, i *instanceRow) error {
	shown, err := json.Marshal(i.shown)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO db_instances (arn, owner, created, status, reason, shown) VALUES ($1, $2, $3, $4, '', $5)`,
		i.arn, i.owner, i.created, i.status, string(shown))
	if sqldb.IsUnique(err) {
		return ErrInstanceExists.Errorf("DB instance already exists")
	}
	return err
}

func updateInstance(ctx context.Context, tx *sqldb.Tx, i *instanceRow) error {
	shown, err := json.Marshal(i.shown)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE db_instances SET shown = $1 WHERE arn = $2`, string(shown), i.arn)
	return err
}

// instances returns instances by their owner, or those whose ARNs begin with
// prefix; the oldest of an owner comes first.
func instances(ctx context.Context, tx *sqldb.Tx, owner, prefix string) ([]*instanceRow, error) {
	rows, err := tx.Query(ctx, `SELECT arn, owner, created, status, reason, shown FROM db_instances
		WHERE $1 = '' OR owner = $1 ORDER BY created, arn`, owner)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []*instanceRow
	for rows.Next() {
		i := &instanceRow{}
		var shown string
		if err := rows.Scan(&i.arn, &i.owner, &i.created, &i.status, &i.reason, &shown); err != nil {
			return nil, err
		}
		if !strings.HasPrefix(i.arn, prefix) {
			continue
		}
		if err := json.Unmarshal([]byte(shown), &i.shown); err != nil {
			return nil, err
		}
		list = append(list, i)
	}
	return list, rows.Err()
}

func findInstance(ctx context.Context, tx *sqldb.Tx, arn string) (*instanceRow, error) {
	i := &instanceRow{arn: arn}
	var shown string
	err := tx.QueryRow(ctx, `SELECT owner, created, status, reason, shown FROM db_instances WHERE arn = $1`, arn).
		Scan(&i.owner, &i.created, &i.status, &i.reason, &shown)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, instanceNotFound(arn)
	}
	if err != nil {
		return nil, err
	}
	return i, json.Unmarshal([]byte(shown), &i.shown)
}

// setStatus changes the state of an owner's instances that are not being
// deleted.
func setStatus(ctx context.Context, tx *sqldb.Tx, owner, status, reason string) error {
	_, err := tx.Exec(ctx, `UPDATE db_instances SET status = $1, reason = $2 WHERE owner = $3 AND status <> $4`,
		status, reason, owner, deleting)
	return err
}

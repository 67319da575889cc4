package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Schema is the tables of one feature. Steps[i] brings version i to version
// i+1; steps are only ever appended.
type Schema struct {
	Name  string
	Steps []string
}

// ErrNewerSchema says that a newer keyturn has written this database.
var ErrNewerSchema = errors.New("this data folder was written by a newer version of keyturn: use that version, or another folder")

const versions = `CREATE TABLE IF NOT EXISTS schema_versions (name TEXT PRIMARY KEY, version BIGINT NOT NULL)`

// migrate brings all schemas up to date in one transaction: an interrupted
// upgrade leaves the database as it was.
func (db *DB) migrate(ctx context.Context, schemas []Schema) error {
	s := <-db.writer
	defer func() { db.writer <- s }()
	if err := s.run("BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("opening the database: %w", err)
	}
	if err := upgrade(ctx, &Tx{session: s, once: true, Now: db.Now()}, schemas); err != nil {
		return errors.Join(err, s.rollback())
	}
	return s.commit()
}

func upgrade(ctx context.Context, tx *Tx, schemas []Schema) error {
	if _, err := tx.Exec(ctx, versions); err != nil {
		return fmt.Errorf("reading the schema's version: %w", err)
	}
	known := map[string]bool{}
	for _, s := range schemas {
		known[s.Name] = true
		if err := s.upgrade(ctx, tx); err != nil {
			return err
		}
	}
	return onlyKnown(ctx, tx, known)
}

func (s Schema) upgrade(ctx context.Context, tx *Tx) error {
	version := 0
	err := tx.QueryRow(ctx, `SELECT version FROM schema_versions WHERE name = $1`, s.Name).Scan(&version)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("reading the version of %s: %w", s.Name, err)
	}
	if version > len(s.Steps) {
		return ErrNewerSchema
	}
	for i := version; i < len(s.Steps); i++ {
		if _, err := tx.Exec(ctx, s.Steps[i]); err != nil {
			return fmt.Errorf("upgrading %s to version %d: %w", s.Name, i+1, err)
		}
	}
	_, err = tx.Exec(ctx, `INSERT INTO schema_versions (name, version) VALUES ($1, $2)
		ON CONFLICT (name) DO UPDATE SET version = excluded.version`, s.Name, len(s.Steps))
	return err
}

func onlyKnown(ctx context.Context, tx *Tx, known map[string]bool) error {
	rows, err := tx.Query(ctx, `SELECT name FROM schema_versions`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		if !known[name] {
			return fmt.Errorf("%w (it holds %q)", ErrNewerSchema, name)
		}
	}
	return rows.Err()
}

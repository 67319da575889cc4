package keyapi

import (
	"context"
	"fmt"
	"slices"

	"github.com/keyturn/keyturn/internal/sqldb"
)

// tellMissing logs which local key material the stored values need, or may need, and
// the key file does not have: a copy from before a key was made looks like any other,
// until somebody asks for a secret of that key. What the file once had is remembered,
// so that values are looked through only if something lacks, or nothing is remembered.
func (s *Service) tellMissing(ctx context.Context) error {
	had, err := s.remembered(ctx)
	if err != nil {
		return err
	}
	var missing []string
	for _, id := range had {
		if !s.config.Keys.Opens(id) {
			missing = append(missing, id)
			s.config.Log.Warn("the key file lacks key material that it had: what is sealed with it does not open; put the line back from a backup of the key file", "material", id)
		}
	}
	if len(had) == 0 || len(missing) > 0 {
		needed, err := s.unopenable(ctx)
		if err != nil {
			return err
		}
		for id, values := range needed {
			s.config.Log.Error("values do not open, since the key file lacks their key material", "material", id, "values", values)
		}
		if err := s.settleMissing(ctx, missing, needed); err != nil {
			return err
		}
	}
	return s.remember(ctx)
}

// unopenable counts the values that the key file can't open, by material.
func (s *Service) unopenable(ctx context.Context) (map[string]int, error) {
	values := map[string]int{}
	err := s.walk(ctx, func(_ Store, page []sealedRow) error {
		for _, row := range page {
			if !s.config.Keys.Opens(row.sealed.KeyID) {
				values[row.sealed.KeyID]++
			}
		}
		return nil
	})
	return values, err
}

// settleMissing forgets missing material that no value needs, and remembers what some do.
func (s *Service) settleMissing(ctx context.Context, missing []string, needed map[string]int) error {
	for _, id := range missing {
		if needed[id] == 0 {
			if err := s.forgetMaterial(ctx, id); err != nil {
				return err
			}
		}
	}
	for id := range needed {
		if err := s.rememberMaterials(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// remembered returns the local material that the key file has had.
func (s *Service) remembered(ctx context.Context) (all []string, err error) {
	err = s.config.DB.Read(ctx, func(tx *sqldb.Tx) error {
		rows, err := tx.Query(ctx, `SELECT id FROM key_materials`)
		if err != nil {
			return fmt.Errorf("reading what the key file had: %w", err)
		}
		defer rows.Close()
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				return fmt.Errorf("reading what the key file had: %w", err)
			}
			all = append(all, id)
		}
		return rows.Err()
	})
	return all, err
}

// remember notes what the key file has now.
func (s *Service) remember(ctx context.Context) error {
	had, err := s.remembered(ctx)
	if err != nil {
		return err
	}
	var fresh []string
	for _, k := range s.config.Keys.Keys() {
		for _, m := range k.Materials {
			if !m.AWSKMS && !slices.Contains(had, m.ID) {
				fresh = append(fresh, m.ID)
			}
		}
	}
	return s.rememberMaterials(ctx, fresh...)
}

// note logs that something could not be remembered or forgotten: the keys are changed
// all the same, and the next start sees to it.
func (s *Service) note(err error) {
	if err != nil {
		s.config.Log.Error("changing the keys", "error", err)
	}
}

func (s *Service) rememberMaterials(ctx context.Context, ids ...string) error {
	if len(ids) == 0 {
		return nil
	}
	return s.config.DB.Write(ctx, func(tx *sqldb.Tx) error {
		for _, id := range ids {
			if _, err := tx.Exec(ctx, `INSERT INTO key_materials (id) VALUES ($1) ON CONFLICT (id) DO NOTHING`, id); err != nil {
				return fmt.Errorf("remembering what the key file has: %w", err)
			}
		}
		return nil
	})
}

func (s *Service) forgetMaterial(ctx context.Context, id string) error {
	return s.config.DB.Write(ctx, func(tx *sqldb.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM key_materials WHERE id = $1`, id); err != nil {
			return fmt.Errorf("forgetting key material: %w", err)
		}
		return nil
	})
}

package keyapi

import (
	"context"
	"fmt"

	"github.com/keyturn/keyturn/internal/iam"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/keyturnapi"
)

func (s *Service) retireTarget(_ context.Context, in *keyturnapi.RetireKeyInput) (iam.Resource, error) {
	var v wire.Violations
	v.Length("keyMaterialId", &in.KeyMaterialID, 1, 2048)
	if k, ok := s.owner(in.KeyMaterialID); ok {
		return s.resource(k.KeyID), v.Err()
	}
	return s.resource("*"), v.Err()
}

// owner returns the key that a material belongs to.
func (s *Service) owner(materialID string) (keyturnapi.Key, bool) {
	for _, k := range s.config.Keys.Keys() {
		for _, m := range k.Materials {
			if m.ID == materialID {
				return s.shown(k), true
			}
		}
	}
	return keyturnapi.Key{}, false
}

// retire takes material out of the key file. First nothing more may come under
// it, then nothing may be there, and then it goes; who is stopped in between
// begins again.
func (s *Service) retire(ctx context.Context, in *keyturnapi.RetireKeyInput) (*keyturnapi.RetireKeyOutput, error) {
	id := in.KeyMaterialID
	if err := s.config.Keys.Old(id); err != nil {
		return nil, explain(err)
	}
	owner, _ := s.owner(id)
	if err := s.fence(ctx, id, owner); err != nil {
		return nil, err
	}
	n, err := s.sealedWith(ctx, id)
	if err != nil {
		return nil, err
	}
	if n > 0 {
		s.poke()
		return nil, ErrInvalidRequest.Errorf("The key material %s can't be retired yet: %d values are sealed with it and are being re-wrapped.", id, n)
	}
	if err := s.config.Keys.Retire(id); err != nil {
		return nil, explain(err)
	}
	s.note(s.forgetMaterial(ctx, id))
	k, err := s.config.Keys.Key(owner.KeyID)
	return &keyturnapi.RetireKeyOutput{Key: s.shown(k)}, err
}

// fence lets nothing more be stored that is sealed with a material. A key in AWS
// KMS needs none: what it sealed opens also when it is not in the key file.
func (s *Service) fence(ctx context.Context, id string, owner keyturnapi.Key) error {
	for _, m := range owner.KeyMaterials {
		if m.KeyMaterialID == id && m.Origin == keyturnapi.OriginAWSKMS {
			return nil
		}
	}
	return s.config.DB.Write(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO retired_key_materials (id) VALUES ($1) ON CONFLICT (id) DO NOTHING`, id)
		if err != nil {
			return fmt.Errorf("retiring key material: %w", err)
		}
		for _, store := range s.config.Stores {
			if err := store.fence(ctx, tx); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Service) sealedWith(ctx context.Context, id string) (n int, err error) {
	err = s.walk(ctx, func(_ Store, page []sealedRow) error {
		for _, row := range page {
			if row.sealed.KeyID == id {
				n++
			}
		}
		return nil
	})
	return n, err
}

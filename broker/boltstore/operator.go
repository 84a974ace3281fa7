package boltstore

import (
	"bytes"
	"context"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// SecretOnce gives a secret of the cluster, made by create if there is none: see
// broker.Secrets.
func (s *Store) SecretOnce(ctx context.Context, by broker.By, name string, create func() ([]byte, error)) (secret []byte, err error) {
	if err := broker.CheckSecretName(name); err != nil {
		return nil, err
	}
	what := "secret " + name
	err = s.view(ctx, what, func(tx *bolt.Tx) error {
		secret = bytes.Clone(tx.Bucket([]byte(bucketSecrets)).Get([]byte(name)))
		return nil
	})
	if err != nil || secret != nil {
		return secret, err
	}
	err = s.update(ctx, by, what, func(c *change) error {
		b := c.tx.Bucket([]byte(bucketSecrets))
		if secret = bytes.Clone(b.Get([]byte(name))); secret != nil {
			return nil
		}
		made, err := create()
		if err != nil {
			return err
		}
		secret = append([]byte{}, made...)
		c.recordRow(broker.RecordSecret, ident.Pool{}, name, nil, secret)
		return c.put(b, []byte(name), bytes.Clone(secret))
	})
	if err != nil {
		return nil, err
	}
	return secret, nil
}

func decodeOperator(b []byte) (broker.Operator, error) {
	r, err := decode[operatorRecord](b)
	return broker.Operator{Name: r.Name, Hash: r.Hash, Expires: fromNanos(r.Expires), Created: fromNanos(r.Created),
		Scope: broker.OperatorScope(r.Scope), Pools: r.Pools}, err
}

// CreateOperator writes a new operator; broker.ErrExists if there is one of that name or hash.
func (s *Store) CreateOperator(ctx context.Context, by broker.By, o broker.Operator) error {
	what := "create operator " + o.Name
	if err := o.Validate(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return s.update(ctx, by, what, func(c *change) error {
		if c.tx.Bucket([]byte(bucketOperators)).Get([]byte(o.Name)) != nil {
			return broker.ErrExists
		}
		return c.putOperator(nil, o)
	})
}

// UpdateOperator applies edit to an operator and writes it: see broker.Operators.
func (s *Store) UpdateOperator(ctx context.Context, by broker.By, name string, edit func(*broker.Operator, []broker.Operator) error) (o broker.Operator, err error) {
	what := "update operator " + name
	err = s.update(ctx, by, what, func(c *change) error {
		row, stored, others, err := c.operator(name)
		if err != nil {
			return err
		}
		o = stored
		if err := edit(&o, others); err != nil {
			return err
		}
		if o.Name != name {
			return fmt.Errorf("%w: an operator's name never changes", broker.ErrInvalid)
		}
		if err := o.Validate(); err != nil {
			return err
		}
		return c.putOperator(row, o)
	})
	return o, err
}

// operator gives an operator with its row, and all the others.
func (c *change) operator(name string) (row []byte, o broker.Operator, others []broker.Operator, err error) {
	err = c.tx.Bucket([]byte(bucketOperators)).ForEach(func(k, v []byte) error {
		each, err := decodeOperator(v)
		if string(k) == name {
			row, o = v, each
		} else {
			others = append(others, each)
		}
		return err
	})
	if err == nil && row == nil {
		err = broker.ErrNotFound
	}
	return row, o, others, err
}

// putOperator writes o in the place of the row old (nil: there was none).
func (c *change) putOperator(old []byte, o broker.Operator) error {
	value, err := encode(operatorRecord{o.Name, o.Hash, nanos(o.Expires), nanos(o.Created), string(o.Scope), o.Pools})
	if err != nil {
		return err
	}
	all, hashes := c.tx.Bucket([]byte(bucketOperators)), c.tx.Bucket([]byte(bucketOperatorHashes))
	if owner := hashes.Get(o.Hash); owner != nil && string(owner) != o.Name {
		return broker.ErrExists
	}
	c.recordRow(broker.RecordOperator, ident.Pool{}, o.Name, old, value)
	if err := dropHash(c, old); err != nil {
		return err
	}
	if err := c.put(hashes, o.Hash, []byte(o.Name)); err != nil {
		return err
	}
	return c.put(all, []byte(o.Name), value)
}

// dropHash takes an operator's row, if there is one, out of the index.
func dropHash(c *change, row []byte) error {
	if row == nil {
		return nil
	}
	o, err := decodeOperator(row)
	if err != nil {
		return err
	}
	return c.delete(c.tx.Bucket([]byte(bucketOperatorHashes)), o.Hash)
}

// OperatorByHash finds an operator by the SHA-256 of the bearer token.
func (s *Store) OperatorByHash(ctx context.Context, hash []byte) (o broker.Operator, err error) {
	err = s.view(ctx, "find operator", func(tx *bolt.Tx) error {
		name := tx.Bucket([]byte(bucketOperatorHashes)).Get(hash)
		if name == nil {
			return broker.ErrNotFound
		}
		o, err = decodeOperator(tx.Bucket([]byte(bucketOperators)).Get(name))
		return err
	})
	return o, err
}

// ListOperators gives all operators, by name.
func (s *Store) ListOperators(ctx context.Context) (all []broker.Operator, err error) {
	err = s.view(ctx, "list operators", func(tx *bolt.Tx) error {
		return tx.Bucket([]byte(bucketOperators)).ForEach(func(_, v []byte) error {
			o, err := decodeOperator(v)
			all = append(all, o)
			return err
		})
	})
	return all, err
}

// DeleteOperator deletes an operator: see broker.Operators.
func (s *Store) DeleteOperator(ctx context.Context, by broker.By, name string, may func(*broker.Operator, []broker.Operator) error) error {
	return s.update(ctx, by, "delete operator "+name, func(c *change) error {
		row, o, others, err := c.operator(name)
		if err != nil {
			return err
		}
		if may != nil {
			if err := may(&o, others); err != nil {
				return err
			}
		}
		c.recordRow(broker.RecordOperator, ident.Pool{}, name, row, nil)
		if err := dropHash(c, row); err != nil {
			return err
		}
		return c.delete(c.tx.Bucket([]byte(bucketOperators)), []byte(name))
	})
}

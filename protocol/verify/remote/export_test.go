package remote

import "context"

// Look is what Key does first, apart: what it returns continues it.
func (s *Source) Look(ctx context.Context, kid []byte) (goOn func() error) {
	_, _, begun := s.kept(ctx, kid)
	return func() error { return s.refresh(ctx, kid, begun) }
}

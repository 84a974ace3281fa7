package proof

import (
	"sync"

	"github.com/signetd/signet/protocol/token"
)

// keyCacheSize is how many keys a generation holds, of some 800 bytes each; there
// are at most two.
const keyCacheSize = 4096

// keyCache remembers registered keys that were parsed, which takes half as long as
// checking a signature. It never goes stale: whether bytes are a sound key depends on the
// bytes alone. A full generation becomes the old one, and the old one before it is
// dropped; keys that are in use move on to the young one.
type keyCache struct {
	mu         sync.Mutex // guards young and old
	young, old map[string]*token.Key
}

// parse is token.ParseCOSEKey with a memory.
func (c *keyCache) parse(raw []byte) (*token.Key, error) {
	if k := c.find(raw); k != nil {
		return k, nil
	}
	k, err := token.ParseCOSEKey(raw)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.add(string(raw), k)
	c.mu.Unlock()
	return k, nil
}

func (c *keyCache) find(raw []byte) *token.Key {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.young[string(raw)]; k != nil {
		return k
	}
	k := c.old[string(raw)]
	if k != nil {
		c.add(string(raw), k)
	}
	return k
}

func (c *keyCache) add(raw string, k *token.Key) {
	if c.young == nil || len(c.young) >= keyCacheSize {
		c.young, c.old = make(map[string]*token.Key), c.young
	}
	c.young[raw] = k
}

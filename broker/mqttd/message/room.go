package message

import "sync"

// A Room bounds messages that are kept, in number and bytes: those of one session, all
// of a device's, of a pool's, all of the server's. Rooms lie in one another; what does not
// fit into one fits into none. A Room is safe for concurrent use.
type Room struct {
	within      *Room // nil for the outermost
	maxMessages int
	maxBytes    int

	mu       sync.Mutex // guards the rest; an inner Room's is taken first
	messages int
	bytes    int
}

// NewRoom makes a Room for so many messages and bytes, within another or nil.
func NewRoom(messages, bytes int, within *Room) *Room {
	return &Room{within: within, maxMessages: messages, maxBytes: bytes}
}

// Take makes room for one message of so many bytes, in r and all Rooms around it, or in none.
func (r *Room) Take(bytes int) bool {
	if r == nil {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.messages >= r.maxMessages || bytes > r.maxBytes-r.bytes || !r.within.Take(bytes) {
		return false
	}
	r.messages++
	r.bytes += bytes
	return true
}

// Resize makes what Take took for one message of so many bytes room for another, in r and
// all Rooms around it, or in none.
func (r *Room) Resize(from, to int) bool {
	if r == nil {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if to > from && to-from > r.maxBytes-r.bytes || !r.within.Resize(from, to) {
		return false
	}
	r.bytes += to - from
	return true
}

// Give gives back what Take took, for so many messages of so many bytes together.
func (r *Room) Give(messages, bytes int) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages -= messages
	r.bytes -= bytes
	r.within.Give(messages, bytes)
}

// Taken is what is taken now.
func (r *Room) Taken() (messages, bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.messages, r.bytes
}

// Has reports whether Take would find room now.
func (r *Room) Has(bytes int) bool {
	if r == nil {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.messages < r.maxMessages && bytes <= r.maxBytes-r.bytes && r.within.Has(bytes)
}

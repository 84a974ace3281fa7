package message

import "sync/atomic"

// A Room bounds messages that are kept, in number and bytes: those of one session, all
// of a device's, of a pool's, all of the server's. Rooms lie in one another; what does not
// fit into one fits into none. A Room is safe for concurrent use.
//
// It has no lock, as each message passes through several. So of two that come at once to what is
// nearly full the first may keep the second out and then not fit itself, into a Room further out.
type Room struct {
	within *Room // nil for the outermost
	most   amount
	taken  atomic.Uint64 // an amount
}

// An amount is a number of messages and their bytes together, in one word: the messages above.
type amount uint64

const (
	byteBits     = 36
	mostBytes    = 1<<byteBits - 1
	mostMessages = 1<<(64-byteBits) - 1
)

func amountOf(messages, bytes int) amount { return amount(messages)<<byteBits | amount(bytes) }

func (a amount) messages() int { return int(a >> byteBits) }
func (a amount) bytes() int    { return int(a & mostBytes) }

// NewRoom makes a Room for so many messages and bytes, within another or nil. More than 2^28
// messages and 64 GiB are not counted.
func NewRoom(messages, bytes int, within *Room) *Room {
	return &Room{within: within, most: amountOf(min(max(messages, 0), mostMessages), min(max(bytes, 0), mostBytes))}
}

// Take makes room for one message of so many bytes, in r and all Rooms around it, or in none.
func (r *Room) Take(bytes int) bool { return r.add(1, bytes) }

// Resize makes what Take took for one message of so many bytes room for another, in r and
// all Rooms around it, or in none.
func (r *Room) Resize(from, to int) bool {
	if to > from {
		return r.add(0, to-from)
	}
	r.Give(0, from-to)
	return true
}

func (r *Room) add(messages, bytes int) bool {
	for at := r; at != nil; at = at.within {
		if !at.addHere(messages, bytes) {
			for ; r != at; r = r.within {
				r.giveHere(messages, bytes)
			}
			return false
		}
	}
	return true
}

func (r *Room) addHere(messages, bytes int) bool {
	for {
		taken := amount(r.taken.Load())
		if !r.fits(taken, messages, bytes) {
			return false
		}
		if r.taken.CompareAndSwap(uint64(taken), uint64(taken+amountOf(messages, bytes))) {
			return true
		}
	}
}

// fits reports whether so much more finds room here. A message has less than 4 GiB.
func (r *Room) fits(taken amount, messages, bytes int) bool {
	return taken.messages()+messages <= r.most.messages() && taken.bytes()+bytes <= r.most.bytes()
}

func (r *Room) giveHere(messages, bytes int) { r.taken.Add(^uint64(amountOf(messages, bytes) - 1)) }

// Give gives back what Take took, for so many messages of so many bytes together.
func (r *Room) Give(messages, bytes int) {
	for ; r != nil; r = r.within {
		r.giveHere(messages, bytes)
	}
}

// Taken is what is taken now.
func (r *Room) Taken() (messages, bytes int) {
	taken := amount(r.taken.Load())
	return taken.messages(), taken.bytes()
}

// Has reports whether Take would find room now.
func (r *Room) Has(bytes int) bool {
	for ; r != nil; r = r.within {
		if !r.fits(amount(r.taken.Load()), 1, bytes) {
			return false
		}
	}
	return true
}

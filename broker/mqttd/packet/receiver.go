package packet

// A Receiver is what a client has said about the packets that it takes: each packet of the
// server that may have a reason string is written for one. A reason is left out where the client
// wants none (section 3.1.2.11.7) and where it would make the packet longer than the client
// takes; and the whole packet, nothing being appended, where it is too long without a reason as
// well (section 3.1.2.11.4). User properties are never sent in such packets.
type Receiver struct {
	Version           Version
	MaximumPacketSize uint32 // bytes, fixed header included; 0: no limit
	NoProblems        bool   // Request Problem Information was 0
}

// Receiver gives what c says about the packets that its sender takes.
func (c *Connect) Receiver() Receiver {
	return Receiver{c.Version, c.MaximumPacketSize, !c.RequestProblemInformation}
}

// Takes reports whether the client takes a packet of n bytes, fixed header included.
func (r Receiver) Takes(n int) bool {
	return r.MaximumPacketSize == 0 || uint64(n) <= uint64(r.MaximumPacketSize)
}

// fit appends what write does: with the reason, else without it, else nothing.
func (r Receiver) fit(dst []byte, reason string, write func(dst []byte, reason string) []byte) []byte {
	for {
		if all := write(dst, reason); r.Takes(len(all) - len(dst)) {
			return all
		}
		if reason == "" {
			return dst
		}
		reason = ""
	}
}

// problem is the reason for packets in which a client may not want one.
func (r Receiver) problem(reason string) string {
	if r.NoProblems {
		return ""
	}
	return reason
}

// AppendAck is AppendAck for the client.
func (r Receiver) AppendAck(dst []byte, t Type, id uint16, code Code, reason string) []byte {
	return r.fit(dst, r.problem(reason), func(dst []byte, reason string) []byte {
		return AppendAck(dst, r.Version, t, id, code, reason)
	})
}

// AppendSuback is AppendSuback for the client.
func (r Receiver) AppendSuback(dst []byte, id uint16, codes []Code, reason string) []byte {
	return r.fit(dst, r.problem(reason), func(dst []byte, reason string) []byte {
		return AppendSuback(dst, r.Version, id, codes, reason)
	})
}

// AppendUnsuback is AppendUnsuback for the client.
func (r Receiver) AppendUnsuback(dst []byte, id uint16, codes []Code, reason string) []byte {
	return r.fit(dst, r.problem(reason), func(dst []byte, reason string) []byte {
		return AppendUnsuback(dst, r.Version, id, codes, reason)
	})
}

// AppendConnack is AppendConnack for the client. Its reason may be said in any case.
func (r Receiver) AppendConnack(dst []byte, c Connack) []byte {
	return r.fit(dst, c.Reason, func(dst []byte, reason string) []byte {
		c.Reason = reason
		return AppendConnack(dst, r.Version, &c)
	})
}

// AppendDisconnect is AppendDisconnect for the client; nothing in MQTT 3.1.1, where servers send
// none. Its reason may be said in any case.
func (r Receiver) AppendDisconnect(dst []byte, d Disconnect) []byte {
	if r.Version != V5 {
		return dst
	}
	return r.fit(dst, d.Reason, func(dst []byte, reason string) []byte {
		d.Reason = reason
		return AppendDisconnect(dst, V5, d)
	})
}

// AppendAuth is AppendAuth for the client.
func (r Receiver) AppendAuth(dst []byte, a Auth) []byte {
	return r.fit(dst, r.problem(a.Reason), func(dst []byte, reason string) []byte {
		a.Reason = reason
		return AppendAuth(dst, &a)
	})
}

// Package sim is a whole Signet in one process on virtual time: two replicas over
// one real store, each by its own handle, honest devices, a thief, operators, and a network that drops,
// doubles, delays, replays, edits and forges. One integer gives the whole run, and
// gives it again.
//
// Each replica is what signetd is behind its sockets: broker/core, broker/mqttfront and
// broker/mqttd, whose connections are pipes with made-up names of TLS connections (door.go,
// lane.go). So requests, admission, upgrades, reviews, expiry and the end of connections are the
// real ones. The network works on the messages inside, as if it were in every TLS connection;
// where it really is, and devices know (relay.go), it has connections of its own to all replicas.
//
// It must run inside a testing/synctest bubble, with the process's randomness seeded by testing/cryptotest: a quarter of an hour
// of virtual time takes a tenth of a second. Whatever happens at the same time
// happens one after another, in an order that the seed chooses (stage.go). It opens
// no socket.
//
// The replicas' clocks are up to five minutes apart and change; they crash before a
// commit, between it and its acknowledgement, and at any other time. Devices reboot,
// also while they save a grant, sleep, and their clocks jump by centuries. Keys and anchors are
// rotated. Now and then the broker's clock is ten years wrong for an hour, or its store an older
// one: restored, its file alone put back, or the whole folder without a word, from before a
// rotation of the anchor, too. How often that meets a device that is in, and one that sleeps, is
// counted, and none may be left out.
//
// The rules that must always hold are in facts.go. They are checked at each store
// commit, each grant a replica makes and each grant a device accepts:
//
//   - no exchange is granted twice, and nothing is granted that was not committed;
//   - a refresh token has one successor, and a family at most one live token;
//   - nothing is granted to a device after its disabling was committed, and no
//     family from before then lives on;
//   - no device accepts a grant that a replica did not make for that very call;
//   - no device's owner is asked for a secret that would go to the network;
//   - nobody but the device opens its grants, and a thief without the key gets none;
//   - whoever stole the pool's signing key begins and renews no session by it, and is out
//     when that key is retired, or when the pool takes no MQTT passwords any more;
//   - a replica that was told of all that was written goes by it: no connection there has more
//     than it may, and no setting is read as it was before;
//   - whoever owns an MQTT broker in the middle, where the TLS of some connections
//     ends, connects as nobody and convinces no backend by what he heard, and devices
//     say that he is there;
//   - what a broker has acknowledged to a device's MQTT session reaches it when it is back, once,
//     or more often but marked so, or the broker says that the session is a new one; one that
//     was planned to restart goes on with it;
//   - a last will that a device hears is one that it has left itself, when its connection has ended,
//     and not in good order, and when the will has waited as long as it was to, unless the device was back
//     by then; it is heard in one session;
//   - every honest device is in again soon after the last fault, renews its session then, and comes
//     back by its token.
package sim

package vectors_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"testing"

	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ace"
	"github.com/signetd/signet/protocol/token"
)

type connectFile struct {
	About     string          `json:"about"`
	Connects  []connectVector `json:"connects"`
	Passwords []tokenVector   `json:"mqtt_passwords"`
	ACE       []aceVector     `json:"ace"`
}

// An aceVector is one CONNECT in the way of RFC 9431, and one re-authentication.
type aceVector struct {
	Name     string `json:"name"`
	Alg      string `json:"alg"` // ES256, EdDSA or HMAC
	Private  string `json:"private"`
	Exported string `json:"exported"` // what the TLS connection exports
	Access   string `json:"access"`
	Proof    string `json:"proof"` // over exported: the password of MQTT 3.1.1
	Data     string `json:"connect"`
	UserName string `json:"user_name"` // of MQTT 3.1.1
	Again    string `json:"again"`
	Nonce    string `json:"server_nonce"`
	Own      string `json:"client_nonce"`
	Input    string `json:"input"`
	Second   string `json:"second_proof"`
	Response string `json:"response"`
}

// A connectVector is one CONNECT: what the device knows, and the password that follows.
type connectVector struct {
	Name     string `json:"name"`
	Alg      string `json:"alg"` // ES256, EdDSA or HMAC
	Private  string `json:"private"`
	Channel  string `json:"channel"` // the name of the TLS connection
	ClientID string `json:"client_id"`
	UserName string `json:"user_name"`
	Access   string `json:"access"`
	Said     string `json:"transcript"`
	Input    string `json:"input"`
	Proof    string `json:"proof"`
	Password string `json:"password"`
}

func connects(t *testing.T) connectFile {
	f := connectFile{About: "Passwords with which a device connects to MQTT again. transcript: that of channel, client_id and access, in this order; input is what the proof covers. ES256 signatures differ from run to run, all else is the same for everyone. mqtt_passwords: what is granted for key 17; JWTs are text, COSE_Sign1 objects hex, by the keys of tokens.json. ace: RFC 9431; connect, again and response are Authentication Data of CONNECT, of AUTH 0x19 and of AUTH 0x18, second_proof is over input."}
	edKey, ecKey, psk := ed(t, "device ed25519"), p256(t, "device"), fixed("shared key", 32)
	jwt := []byte(accessJWT(t, claims(t), p256(t, "signer")))
	raw := accessCWT(t, claims(t), p256(t, "signer"))
	for _, c := range []struct {
		name, alg, private, suffix string
		access                     []byte
		sign                       func([]byte) []byte
	}{
		{"Ed25519, CWT", "EdDSA", edKey.private, "", raw, func(in []byte) []byte { return edKey.sign(t, in) }},
		{"P-256, JWT, a further connection", "ES256", ecKey.private, "/2", jwt, func(in []byte) []byte { return ecKey.sign(t, in) }},
		{"shared key", "HMAC", hexOf(psk), "", raw, func(in []byte) []byte {
			mac := hmac.New(sha256.New, psk)
			mac.Write(in)
			return mac.Sum(nil)
		}},
	} {
		user, name := device(t).String(), fixed("channel", protocol.ChannelLen)
		id := user + c.suffix
		p := protocol.ConnectProof{Access: c.access, Channel: name}
		input := p.Input(id)
		p.Proof = c.sign(input)
		password, err := protocol.EncodeConnectProof(&p)
		if err != nil {
			t.Fatal(err)
		}
		said := protocol.Transcript{}.Add(name).Add([]byte(id)).Add(c.access)
		var nonce [ace.NonceLen]byte
		copy(nonce[:], fixed("server nonce of ace", ace.NonceLen))
		r := ace.Response{Nonce: [ace.NonceLen]byte(fixed("client nonce of ace", ace.NonceLen))}
		exported, both := fixed("exported", protocol.ChannelLen), r.Input(nonce)
		first := c.sign(exported)
		r.Proof = c.sign(both)
		opening, err := ace.Opening{Token: c.access, Proof: first}.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ace.Opening{Token: c.access}.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		f.ACE = append(f.ACE, aceVector{
			c.name, c.alg, c.private, hexOf(exported), hexOf(c.access), hexOf(first), hexOf(opening), ace.UserName(c.access),
			hexOf(again), hexOf(nonce[:]), hexOf(r.Nonce[:]), hexOf(both), hexOf(r.Proof), hexOf(r.Append(nil)),
		})
		f.Connects = append(f.Connects, connectVector{c.name, c.alg, c.private, hexOf(name), id, user, hexOf(c.access), hexOf(said[:]), hexOf(input), hexOf(p.Proof), hexOf(password)})
	}
	for _, s := range signers(t) {
		alg, text := s.signer.Key().Alg().String(), mqttJWT(t, s)
		f.Passwords = append(f.Passwords, tokenVector{Name: "MQTT password JWT, " + alg, Form: "jwt", Class: "mqtt", Alg: alg, Token: text, Claims: string(part(t, text, 1))})
		f.Passwords = append(f.Passwords, cwt(t, "MQTT password CWT, "+alg, "mqtt", alg, mqttCWT(t, s)))
	}
	return f
}

// TestMQTTPasswords: each is read as what it is, and as nothing else.
func TestMQTTPasswords(t *testing.T) {
	m := matcher{rules: readCDDL(t)}
	for _, v := range load[connectFile](t, "connect.json").Passwords {
		for _, class := range []token.Class{token.Access, token.ID, token.MQTTPassword} {
			var c *token.Claims
			var err error
			if v.Form == "jwt" {
				c, err = token.ParseJWT([]byte(v.Token), class, lookup(publicKeys(t)))
			} else {
				c, err = token.ParseCWT(unhex(t, v.Token), class, lookup(publicKeys(t)))
			}
			if (err == nil) != (class == token.MQTTPassword) || err == nil && c.Audience != issuer+"/mqtt" {
				t.Errorf("%s as %s: %+v, %v", v.Name, class, c, err)
			}
		}
		for _, rule := range []string{"mqtt-cwt", "access-cwt", "id-cwt", "key-statement"} {
			if v.Form != "cwt" {
				continue
			}
			if err := m.match(rule, unhex(t, v.Token)); (err == nil) != (rule == "mqtt-cwt") {
				t.Errorf("%s as %s: %v", v.Name, rule, err)
			}
		}
	}
}

// TestConnects: each password reads as what it was made of, and its proof is over that
// connection, client id and token alone.
func TestConnects(t *testing.T) {
	m := matcher{rules: readCDDL(t)}
	for _, v := range load[connectFile](t, "connect.json").Connects {
		raw := unhex(t, v.Password)
		if err := m.match("connect-proof", raw); err != nil || !protocol.IsConnectProof(raw) {
			t.Errorf("%s: %v", v.Name, err)
		}
		p, err := protocol.DecodeConnectProof(raw)
		if err != nil || hexOf(p.Access) != v.Access || hexOf(p.Channel) != v.Channel || hexOf(p.Proof) != v.Proof {
			t.Fatalf("%s: %+v, %v", v.Name, p, err)
		}
		good := func(channel []byte, id string, access []byte) bool {
			said := protocol.ConnectProof{Access: access, Channel: channel}
			input := said.Input(id)
			switch v.Alg {
			case "HMAC":
				s, err := token.NewSecret(unhex(t, v.Private))
				return err == nil && s.Verify(input, p.Proof) == nil
			case "ES256":
				return p256(t, "device").signer.Key().Verify(input, p.Proof) == nil
			}
			return ed(t, "device ed25519").signer.Key().Verify(input, p.Proof) == nil
		}
		channel := unhex(t, v.Channel)
		other := append([]byte{channel[0] ^ 1}, channel[1:]...)
		if !good(channel, v.ClientID, p.Access) {
			t.Errorf("%s: the proof does not fit", v.Name)
		}
		if good(other, v.ClientID, p.Access) || good(channel, v.ClientID+"x", p.Access) || good(channel, v.ClientID, append(p.Access, 0)) {
			t.Errorf("%s: the proof fits something else", v.Name)
		}
	}
}

// TestACE: each CONNECT and each response reads as what it was made of, and its proof is over that
// connection, or those nonces, alone.
func TestACE(t *testing.T) {
	for _, v := range load[connectFile](t, "connect.json").ACE {
		good := func(input, proof []byte) bool {
			switch v.Alg {
			case "HMAC":
				s, err := token.NewSecret(unhex(t, v.Private))
				return err == nil && s.Verify(input, proof) == nil
			case "ES256":
				return p256(t, "device").signer.Key().Verify(input, proof) == nil
			}
			return ed(t, "device ed25519").signer.Key().Verify(input, proof) == nil
		}
		o, err := ace.ParseOpening(unhex(t, v.Data))
		if err != nil || hexOf(o.Token) != v.Access || hexOf(o.Proof) != v.Proof || !good(unhex(t, v.Exported), o.Proof) {
			t.Errorf("%s: %+v, %v", v.Name, o, err)
		}
		if tok, err := ace.ParseUserName(v.UserName); err != nil || hexOf(tok) != v.Access {
			t.Errorf("%s: user name: %v", v.Name, err)
		}
		if o, err := ace.ParseOpening(unhex(t, v.Again)); err != nil || hexOf(o.Token) != v.Access || o.Proof != nil {
			t.Errorf("%s, again: %+v, %v", v.Name, o, err)
		}
		r, err := ace.ParseResponse(unhex(t, v.Response))
		input := r.Input([ace.NonceLen]byte(unhex(t, v.Nonce)))
		if err != nil || hexOf(r.Nonce[:]) != v.Own || hexOf(input) != v.Input || !good(input, r.Proof) || good(unhex(t, v.Exported), r.Proof) {
			t.Errorf("%s, response: %+v, %v", v.Name, r, err)
		}
	}
}

// Package certs is Signet's certificate authority: it makes (or takes over) a
// root and an intermediate in a folder, issues device and server certificates
// under them, and keeps the broker's own server certificate fresh.
//
//	err := certs.Create("data/ca", certs.Options{Name: "Acme"})
//	ca, err := certs.Open("data/ca", certs.Config{TrustDomain: "acme.example"})
//	srv, err := ca.NewServerCertificate(ctx, certs.ServerNames{DNS: []string{"mqtt.acme.example"}}, 0)
//	conf := &tls.Config{GetCertificate: srv.GetCertificate, MinVersion: tls.VersionTLS12}
//
// It signs with github.com/smallstep/certificates and is the only importer of
// it. Which keys are sound is protocol/token's to say.
//
// What it never does: it takes nothing from a certificate request but the public
// key, and it renews no certificate that is handed to it. A renewal is a new
// issue, from the names in the directory, after a fresh proof. The library's own
// renewal stays out of reach, since it extends any certificate it is shown,
// strangers' included.
package certs

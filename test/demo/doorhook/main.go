// Command doorhook is the webhook of the demonstration: a second challenge that
// asks a device for the code on its door. It shows all that a hook needs: check the
// signature (Standard Webhooks), make a challenge, verify the answer.
//
//	doorhook -listen 127.0.0.1:8090 -secret whsec_... -code 4711
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const maxBody = 64 << 10

// An event is the part of a hook's request that a door needs.
type event struct {
	Trigger string `json:"triggerSource"`
	Device  struct {
		Name string `json:"name"`
	} `json:"device"`
	Request struct {
		Private map[string]string `json:"privateChallengeParameters"`
		Answer  string            `json:"challengeAnswer"`
	} `json:"request"`
}

func main() {
	listen := flag.String("listen", "127.0.0.1:8090", "address")
	secret := flag.String("secret", "", "the hook's signing secret, whsec_...")
	code := flag.String("code", "4711", "the code on the door")
	flag.Parse()
	hook, err := webhooks.NewWebhook(*secret)
	if err != nil {
		log.Fatal("doorhook: -secret: ", err)
	}
	server := &http.Server{Addr: *listen, ReadTimeout: 5 * time.Second, Handler: handler(hook, *code)}
	log.Fatal("doorhook: ", server.ListenAndServe())
}

func handler(hook *webhooks.Webhook, code string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if err := hook.Verify(raw, r.Header); err != nil {
			http.Error(w, "not signed by our broker", http.StatusUnauthorized)
			return
		}
		var e event
		if err := json.Unmarshal(raw, &e); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		response, err := answer(&e, code)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(map[string]any{"response": response}); err != nil {
			log.Print("doorhook: ", err)
		}
	})
}

func answer(e *event, code string) (map[string]any, error) {
	switch e.Trigger {
	case "CreateAuthChallenge_Authentication":
		return map[string]any{
			"publicChallengeParameters":  map[string]string{"question": "code on the door of " + e.Device.Name + "?"},
			"privateChallengeParameters": map[string]string{"code": code},
		}, nil
	case "VerifyAuthChallengeResponse_Authentication":
		return map[string]any{"answerCorrect": e.Request.Answer == e.Request.Private["code"]}, nil
	}
	return nil, fmt.Errorf("unknown trigger %q", e.Trigger)
}

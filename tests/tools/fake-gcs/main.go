// Fake-gcs is a Google Cloud Storage for tests: fsouza/fake-gcs-server's handler, which believes
// everybody, behind one that asks who is there. It knows one service account, hands out access
// tokens for it, verifies V4 signatures by its key or its HMAC key with their expiry, and lets a signed put carry the
// preconditions and checksums that the real service honours and the fake one ignores. A rewrite gets
// the storage class that it asks for, which the fake one forgets.
package main

import (
	"bytes"
	"crypto/md5"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

// publicHost is the name under which the inner handler takes XML requests, whatever our clients
// call us: a proxy in front of us has a port of its own.
const publicHost = "gcs.invalid"

const token = "/token"

const rewrite = "/rewriteTo/"

// server stands in front of the fake storage. A careless one ignores preconditions: its objects can
// be overwritten, as at services that speak a protocol only in part.
type server struct {
	careless    bool
	storage     *fakestorage.Server
	inner       http.Handler
	who         *identity
	accessToken string
}

func main() {
	address := flag.String("address", "", "host:port to listen on")
	root := flag.String("root", "", "folder of the objects")
	account := flag.String("account", "", "e-mail address of the service account")
	keyFile := flag.String("public-key", "", "PEM file with the account's public key")
	hmacID := flag.String("hmac-id", "", "access id of the account's HMAC key")
	hmacSecret := flag.String("hmac-secret", "", "secret of the account's HMAC key")
	careless := flag.Bool("careless", false, "ignore the preconditions of signed puts")
	flag.Parse()
	if err := serve(*address, *root, *keyFile, *careless, &identity{account: *account, hmacID: *hmacID, hmacSecret: *hmacSecret}); err != nil {
		log.Fatal(err)
	}
}

func serve(address, root, keyFile string, careless bool, who *identity) error {
	key, err := readKey(keyFile)
	if err != nil {
		return err
	}
	who.key = key
	storage, err := fakestorage.NewServerWithOptions(fakestorage.Options{
		StorageRoot: root,
		PublicHost:  publicHost,
		ExternalURL: "http://" + address,
		NoListener:  true,
	})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	handler := &server{
		careless:    careless,
		storage:     storage,
		inner:       storage.HTTPHandler(),
		who:         who,
		accessToken: randomToken(),
	}
	return http.Serve(listener, handler)
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/_internal/healthcheck":
		s.inner.ServeHTTP(w, r)
	case r.URL.Path == token:
		s.grant(w, r)
	case r.URL.Query().Has("X-Goog-Algorithm"):
		s.signed(w, r)
	case r.Header.Get("Authorization") == "Bearer "+s.accessToken && strings.Contains(r.URL.Path, rewrite):
		s.rewrite(w, r)
	case r.Header.Get("Authorization") == "Bearer "+s.accessToken:
		s.inner.ServeHTTP(w, r)
	default:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error": {"code": 401, "message": "Invalid Credentials"}}`)
	}
}

// rewrite copies an object, and then gives the copy the storage class that was asked for.
func (s *server) rewrite(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var wanted struct {
		StorageClass string `json:"storageClass"`
	}
	_ = json.Unmarshal(body, &wanted)
	r.Body = io.NopCloser(bytes.NewReader(body))
	_, target, _ := strings.Cut(r.URL.EscapedPath(), rewrite)
	copied := &answer{header: http.Header{}}
	s.inner.ServeHTTP(copied, r)
	if (copied.status == http.StatusOK || copied.status == 0) && wanted.StorageClass != "" {
		address := "/storage/v1" + "/" + strings.TrimPrefix(target, "/")
		change, _ := json.Marshal(wanted)
		patch, err := http.NewRequest(http.MethodPatch, "http://"+publicHost+address, bytes.NewReader(change))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		patch.RequestURI = address
		patched := &answer{header: http.Header{}}
		s.inner.ServeHTTP(patched, patch)
		if patched.status != http.StatusOK && patched.status != 0 {
			copied = patched
		}
	}
	w.Header().Set("Content-Type", "application/json")
	if copied.status != 0 {
		w.WriteHeader(copied.status)
	}
	_, _ = w.Write(copied.body.Bytes())
}

// signed answers requests to signed URLs, as the XML API does.
func (s *server) signed(w http.ResponseWriter, r *http.Request) {
	if refusal := verify(r, s.who, time.Now()); refusal != nil {
		refusal.write(w)
		return
	}
	bucket, object, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if _, err := s.storage.Backend().GetBucket(bucket); err != nil {
		(&refusal{http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist."}).write(w)
		return
	}
	switch r.Method {
	case http.MethodPut:
		s.put(w, r, bucket, object)
	case http.MethodGet, http.MethodHead:
		s.get(w, r, bucket, object)
	default:
		(&refusal{http.StatusMethodNotAllowed, "MethodNotAllowed", "Only GET, HEAD and PUT."}).write(w)
	}
}

// put turns a signed put into the JSON API's upload, which honours the precondition.
func (s *server) put(w http.ResponseWriter, r *http.Request, bucket, object string) {
	body, err := io.ReadAll(r.Body)
	if err != nil || int64(len(body)) != r.ContentLength {
		(&refusal{http.StatusBadRequest, "IncompleteBody", "The body is shorter than its length."}).write(w)
		return
	}
	if declared := r.Header.Get("Content-MD5"); declared != "" {
		digest := md5.Sum(body)
		if base64.StdEncoding.EncodeToString(digest[:]) != declared {
			(&refusal{http.StatusBadRequest, "BadDigest", "The Content-MD5 is not the body's."}).write(w)
			return
		}
	}
	query := url.Values{"uploadType": {"media"}, "name": {object}}
	if match := r.Header.Get("x-goog-if-generation-match"); match != "" && !s.careless {
		query.Set("ifGenerationMatch", match)
	}
	upload := r.Clone(r.Context())
	upload.Method = http.MethodPost
	upload.Body = io.NopCloser(bytes.NewReader(body))
	upload.URL = &url.URL{Path: "/upload/storage/v1/b/" + bucket + "/o", RawQuery: query.Encode()}
	upload.RequestURI = upload.URL.RequestURI()
	answer := &answer{header: http.Header{}}
	s.inner.ServeHTTP(answer, upload)
	switch answer.status {
	case http.StatusOK, 0:
		w.WriteHeader(http.StatusOK)
	case http.StatusPreconditionFailed:
		(&refusal{http.StatusPreconditionFailed, "PreconditionFailed", "The precondition failed."}).write(w)
	default:
		(&refusal{answer.status, "InternalError", answer.body.String()}).write(w)
	}
}

func (s *server) get(w http.ResponseWriter, r *http.Request, bucket, object string) {
	found, err := s.storage.GetObjectStreaming(bucket, object)
	if err != nil {
		(&refusal{http.StatusNotFound, "NoSuchKey", "The specified key does not exist."}).write(w)
		return
	}
	found.Close()
	r.Host = publicHost
	s.inner.ServeHTTP(w, r)
}

// refusal is an error as the XML API says it.
type refusal struct {
	status        int
	code, message string
}

func (e *refusal) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/xml; charset=UTF-8")
	w.WriteHeader(e.status)
	fmt.Fprintf(w, "<?xml version='1.0' encoding='UTF-8'?><Error><Code>%s</Code><Message>%s</Message></Error>",
		e.code, e.message)
}

// answer keeps what the inner handler says about an upload.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header               { return a.header }
func (a *answer) WriteHeader(status int)            { a.status = status }
func (a *answer) Write(content []byte) (int, error) { return a.body.Write(content) }

func readKey(path string) (*rsa.PublicKey, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM block", path)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	public, ok := key.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%s holds no RSA key", path)
	}
	return public, nil
}

func randomToken() string {
	bytes := make([]byte, 24)
	if _, err := rand.Read(bytes); err != nil {
		panic(err)
	}
	return hex.EncodeToString(bytes)
}

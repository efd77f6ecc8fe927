# HashiCorp Vault as its documentation advises for production, but for TLS, which the
# rows of Arca beside it do without, too.

storage "raft" {
  path    = "@DIR@/raft"
  node_id = "bench"
}

listener "tcp" {
  address         = "@ADDRESS@"
  cluster_address = "@CLUSTER@"
  tls_disable     = true
}

api_addr     = "http://@ADDRESS@"
cluster_addr = "https://@CLUSTER@"

# With integrated storage, whose file is mapped into memory, the documentation advises to
# forbid swap on the machine instead of locking memory.
disable_mlock = true

log_level = "warn"

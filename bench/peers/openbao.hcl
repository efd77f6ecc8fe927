# OpenBao as its documentation advises for production, but for TLS, which the rows of Arca
# beside it do without, too. It never locks memory.

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

# Newer releases take audit devices from here alone. To older ones this stanza is
# unknown, and the bench program adds the device through the API.
audit "file" "file" {
  options = {
    file_path = "@DIR@/audit.log"
  }
}

log_level = "warn"

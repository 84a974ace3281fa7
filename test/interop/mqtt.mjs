// A client of npm's mqtt that does what it is told, line by line: the enhanced authentication of MQTT 5,
// whose bytes whoever tells it has. node mqtt.mjs HOST PORT CA-FILE. Bytes are in hex.
//
//   connect VERSION METHOD ID DATA [USER PASSWORD]   (- where there is none)
//   say DATA          the answer to the AUTH that came last
//   again METHOD DATA an AUTH that authenticates again
//   subscribe FILTER, publish TOPIC TEXT, end
//
// It prints what comes of it as JSON, a line each.
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import tls from 'node:tls'
import mqtt from 'mqtt'

const [host, port, ca] = process.argv.slice(2)
const tell = (event, more = {}) => console.log(JSON.stringify({ event, ...more }))
const hex = (bytes) => Buffer.from(bytes ?? []).toString('hex')
const bytes = (text) => Buffer.from(text === '-' ? '' : text, 'hex')
let socket, client, goOn

function open() {
  socket = tls.connect({ host, port: Number(port), ca: readFileSync(ca), servername: 'localhost' }, () => {
    const exported = (label) => hex(socket.exportKeyingMaterial(32, label, Buffer.alloc(0)))
    tell('open', { channel: exported('EXPORTER-Channel-Binding'), exported: exported('EXPORTER-ACE-MQTT-Sign-Challenge') })
  })
}

function connect([version, method, clientId, data, username, password]) {
  const options = { protocolVersion: Number(version), clientId, clean: true, reconnectPeriod: 0 }
  if (method !== '-') options.properties = { authenticationMethod: method, authenticationData: bytes(data) }
  if (username) Object.assign(options, { username, password: bytes(password) })
  client = new mqtt.MqttClient(() => socket, options)
  client.handleAuth = (packet, callback) => {
    tell('auth', { code: packet.reasonCode, data: hex(packet.properties.authenticationData) })
    if (packet.reasonCode === 0) return callback()
    goOn = (data) => callback(null, auth(0x18, packet.properties.authenticationMethod, data))
  }
  client.on('packetreceive', (p) => {
    if (p.cmd === 'connack') tell('connack', { code: p.reasonCode ?? p.returnCode, data: hex(p.properties?.authenticationData) })
    if (p.cmd === 'disconnect') tell('disconnect', { code: p.reasonCode })
  })
  client.on('message', (topic, payload) => tell('message', { topic, text: payload.toString() }))
  client.on('error', () => {}) // CONNACK has told of it
  client.on('close', () => tell('close'))
}

const auth = (reasonCode, authenticationMethod, data) =>
  ({ cmd: 'auth', reasonCode, properties: { authenticationMethod, authenticationData: bytes(data) } })

createInterface({ input: process.stdin }).on('line', (line) => {
  const [command, ...args] = line.split(' ')
  if (command === 'open') open()
  if (command === 'connect') connect(args)
  if (command === 'say') goOn(args[0])
  if (command === 'again') client._sendPacket(auth(0x19, args[0], args[1])) // it has no other way to send an AUTH
  if (command === 'subscribe') client.subscribe(args[0], (err, granted) => tell('granted', { code: err ? 0x80 : granted[0].qos }))
  if (command === 'publish') client.publish(args[0], args[1])
  if (command === 'end') process.exit(0)
})
